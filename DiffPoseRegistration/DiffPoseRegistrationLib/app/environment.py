"""What the worker needs and whether it is installed, told from metadata alone: nothing is imported."""

from __future__ import annotations

import re
from importlib import metadata
from pathlib import Path

import slicer
import slicer.util
from slicer.i18n import tr as _

from ..errors import InputError

_REQUIREMENT = re.compile(r"^\s*([A-Za-z0-9_.-]+)\s*>=\s*([0-9.]+)")


def requirements(path: Path) -> dict[str, str]:
    """Lowest version by package, of a requirements file that holds lower bounds alone."""
    found = {}
    for line in path.read_text(encoding="utf-8").splitlines():
        match = _REQUIREMENT.match(line)
        if match:
            found[match.group(1)] = match.group(2)
    return found


def missing_packages(path: Path) -> list[str]:
    """Requirements (``name>=version``) of the file at ``path`` that are not installed or too old."""
    return [
        f"{name}>={lowest}"
        for name, lowest in requirements(path).items()
        if (version := installed_version(name)) is None or _numbers(version) < _numbers(lowest)
    ]


def installed_version(name: str) -> str | None:
    """Version of an installed package, without importing it; None if it is not there."""
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def install(path: Path) -> bool:
    """Install what is missing after asking; returns False if the person declined.

    Packages come through Slicer's own tools (``slicer.packaging`` since 5.12); torch comes through the
    PyTorch extension, which knows the computer's GPU.

    Raises
    ------
    InputError
        If the PyTorch extension is needed and not there, or an installation fails.
    """
    missing = missing_packages(path)
    wants_torch = installed_version("torch") is None
    names = [*missing, *(["torch"] if wants_torch else [])]
    if not names:
        return True
    question = _("DiffPose needs these Python packages:\n\n{names}\n\nDownload and install them now?")
    if not slicer.util.confirmOkCancelDisplay(question.format(names="\n".join(names))):
        return False
    if wants_torch:
        try:
            import PyTorchUtils
        except ModuleNotFoundError:
            raise InputError(
                _("torch is missing; install the PyTorch extension in the Extensions Manager and restart Slicer.")
            ) from None
        if PyTorchUtils.PyTorchUtilsLogic().installTorch(askConfirmation=False) is None:
            raise InputError(_("torch could not be installed; open the PyTorch module and install it there."))
    if missing:
        try:
            import slicer.packaging as packaging
        except ImportError:  # Slicer before 5.12
            packaging = None
        try:
            if packaging is not None:
                packaging.pip_install(missing, requester="DiffPose")
            else:
                slicer.util.pip_install(missing)
        except Exception as error:  # pip's own process failed: what it said is in Slicer's log
            raise InputError(
                _("The packages could not be installed ({error}); see Slicer's log for pip's words.").format(
                    error=error
                )
            ) from error
    return True


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d+", version.split("+")[0])[:3])
