"""The pinned requirement sets in ``requirements/``: their lines, their digest, and whether a Python has them.

Standard library only, in a grammar that Python 3.8 reads.
"""

from __future__ import annotations

import hashlib
import platform
import re
import sys
from importlib import metadata
from pathlib import Path

from _pythons import NEEDED, NEWEST, OLDEST, EnvironmentProblem

REPOSITORY = Path(__file__).resolve().parents[1]


def requirement_file(name: str) -> Path:
    """The file of a requirement set."""
    return REPOSITORY / "requirements" / f"{name}.txt"


def pins(name: str, python: tuple = sys.version_info, system: str = sys.platform) -> dict[str, str]:
    """The pinned version by package of a requirement set, for a Python version and a ``sys.platform``.

    Lines are ``NAME==VERSION``, optionally followed by ``; python_version < "3.11"`` (or ``>=``) or
    ``; sys_platform == "..."``; anything else raises ValueError.
    """
    found = {}
    for line in requirement_file(name).read_text(encoding="utf-8").splitlines():
        line = line.partition("#")[0].strip()
        if not line:
            continue
        match = re.fullmatch(
            r"([\w.-]+)==([\w.]+)(?:\s*;\s*(?:python_version\s*(<|>=)\s*\"3\.(\d+)\"|sys_platform == \"(\w+)\"))?", line
        )
        if not match:
            raise ValueError(f"requirements/{name}.txt: {line!r} is not NAME==VERSION with one known marker")
        package, version, comparison, minor, wanted_system = match.groups()
        if wanted_system and wanted_system != system:
            continue
        if comparison and (tuple(python[:2]) < (3, int(minor))) != (comparison == "<"):
            continue
        found[package] = version
    return found


def digest(name: str) -> str:
    """What the stamp keeps of a requirement set: a hash of its lines, without comments."""
    lines = requirement_file(name).read_text(encoding="utf-8").splitlines()
    kept = [line.partition("#")[0].strip() for line in lines]
    return hashlib.sha256("\n".join(line for line in kept if line).encode()).hexdigest()


def check_installed(python: str, sets: tuple[str, ...]) -> None:
    """Compare the packages of the running Python with the pins; a build tag such as ``+cpu`` is no difference."""
    if not OLDEST <= sys.version_info[:2] <= NEWEST:
        raise EnvironmentProblem(
            f"{NEEDED}, and DIFFPOSE_PYTHON names {python}, which is {platform.python_version()}; name another."
        )
    wrong = []
    for name in sets:
        for package, version in pins(name).items():
            try:
                found = metadata.version(package)
            except metadata.PackageNotFoundError:
                found = "nothing"
            if found.partition("+")[0] != version:
                wrong.append(f"{package}=={version} (has {found})")
    if wrong:
        files = " ".join(f"-r {requirement_file(name)}" for name in sets)
        more = f" and {len(wrong) - 3} more" if len(wrong) > 3 else ""
        raise EnvironmentProblem(
            f"DIFFPOSE_PYTHON names {python}, which lacks {', '.join(wrong[:3])}{more}; "
            f"install them with: {python} -m pip install {files} (or unset DIFFPOSE_PYTHON)."
        )
