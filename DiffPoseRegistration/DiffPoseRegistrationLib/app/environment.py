"""What the worker needs and whether it is installed, told from metadata alone: nothing is imported."""

from __future__ import annotations

import re
from importlib import metadata
from pathlib import Path

import slicer
import slicer.util
from slicer.i18n import tr as _

from ..errors import InputError

REQUIREMENTS = Path(__file__).resolve().parents[2] / "Resources" / "requirements.txt"
_REQUIREMENT = re.compile(r"^\s*([A-Za-z0-9_.-]+)\s*>=\s*([0-9.]+)")


def missing_packages(path: Path = REQUIREMENTS) -> list[str]:
    """Requirements (``name>=version``) of the worker that are not installed or too old; torch comes last."""
    missing = [
        f"{name}>={lowest}"
        for name, lowest in _lower_bounds(path).items()
        if (version := installed_version(name)) is None or _numbers(version) < _numbers(lowest)
    ]
    return missing if installed_version("torch") is not None else [*missing, "torch"]


def installed_version(name: str) -> str | None:
    """Version of an installed package, without importing it; None if it is not there."""
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def require_packages() -> None:
    """Raises InputError if a package is missing, and says how to get it."""
    missing = missing_packages()
    if missing:
        raise InputError(
            _("Python packages are missing: {names}. Install them in the section Environment of this module.").format(
                names=", ".join(missing)
            )
        )


def install(path: Path = REQUIREMENTS) -> bool:
    """Install what is missing after asking; returns False if the person declined.

    Packages come through Slicer's own tools (``slicer.packaging`` since 5.12); torch comes through the
    PyTorch extension, which knows the computer's GPU.

    Raises
    ------
    InputError
        If the PyTorch extension is needed and not there, or an installation fails.
    """
    missing = missing_packages(path)
    if not missing:
        return True
    question = _("DiffPose needs these Python packages:\n\n{names}\n\nDownload and install them now?")
    if not slicer.util.confirmOkCancelDisplay(question.format(names="\n".join(missing))):
        return False
    before = _all_versions()
    if "torch" in missing:
        _install_torch()
    _install_others([name for name in missing if name != "torch"])
    left = missing_packages(path)
    if left:
        raise InputError(
            _("{names} still cannot be found; restart Slicer and look again.").format(names=", ".join(left))
        )
    after = _all_versions()
    changed = sorted(name for name, version in before.items() if after.get(name) != version)
    if changed and slicer.util.confirmYesNoDisplay(
        _("Other versions of {names} were installed, which Slicer has in use. Restart Slicer now?").format(
            names=", ".join(changed)
        )
    ):
        slicer.util.restart()
    return True


def _install_torch() -> None:
    try:
        import PyTorchUtils
    except ModuleNotFoundError:
        raise InputError(
            _("torch is missing; install the PyTorch extension in the Extensions Manager and restart Slicer.")
        ) from None
    if PyTorchUtils.PyTorchUtilsLogic().installTorch(askConfirmation=False) is None:
        raise InputError(_("torch could not be installed; open the PyTorch module and install it there."))


def _install_others(requirements: list[str]) -> None:
    if not requirements:
        return
    try:
        import slicer.packaging as packaging
    except ImportError:  # Slicer before 5.12
        packaging = None
    try:
        if packaging is not None:
            packaging.pip_install(requirements, requester="DiffPose")
        else:
            slicer.util.pip_install(requirements)
    except Exception as error:  # pip's own process failed: what it said is in Slicer's log
        raise InputError(
            _("The packages could not be installed ({error}); see Slicer's log for pip's words.").format(error=error)
        ) from error


def _lower_bounds(path: Path) -> dict[str, str]:
    """Lowest version by package, of a requirements file that holds lower bounds alone."""
    matches = map(_REQUIREMENT.match, path.read_text(encoding="utf-8").splitlines())
    return {match.group(1): match.group(2) for match in matches if match}


def _all_versions() -> dict[str, str]:
    return {found.metadata["Name"]: found.version for found in metadata.distributions()}


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d+", version.split("+")[0])[:3])
