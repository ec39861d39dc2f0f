"""Configures and installs the extension with CMake, without Slicer, compilers or build tools."""

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[1]
PACKAGING = REPOSITORY / "Testing" / "packaging"


@dataclass(frozen=True)
class Installation:
    """``modules`` is Slicer's folder of scripted modules; ``description`` what its catalogue would know."""

    prefix: Path
    modules: Path
    description: dict[str, str]

    def files(self) -> set[str]:
        """Paths of all installed modules' files relative to ``modules``, with forward slashes."""
        return {path.relative_to(self.modules).as_posix() for path in self.modules.rglob("*") if path.is_file()}


def cmake_program() -> str | None:
    """CMake beside this Python (pip's), else on the PATH; None if there is none."""
    places = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
    return shutil.which("cmake", path=places)


def configure(cmake: str, build: Path, *options: str, source: Path = REPOSITORY) -> subprocess.CompletedProcess[str]:
    """Run CMake's configuration of the extension into ``build``; what it said is in the answer's ``stdout``."""
    command = [cmake, "-G", "Unix Makefiles", "-S", str(source), "-B", str(build)]
    places = {"Slicer_DIR": PACKAGING / "slicer", "CMAKE_TOOLCHAIN_FILE": PACKAGING / "no_compiler.cmake"}
    command += [*(f"-D{name}={place.as_posix()}" for name, place in places.items()), *options]
    return subprocess.run(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, encoding="utf-8", errors="replace", check=False
    )


def install(cmake: str, folder: Path) -> Installation:
    """Configure in ``folder/build``, install to ``folder/Slicer``, and remove the former."""
    build, prefix = folder / "build", folder / "Slicer"
    done = configure(cmake, build)
    assert done.returncode == 0, done.stdout
    subprocess.run([cmake, "--install", build, "--prefix", prefix], check=True, stdout=subprocess.DEVNULL)
    shutil.rmtree(build)
    (module,) = prefix.rglob("DiffPoseRegistration.py")
    (description,) = prefix.rglob("DiffPose.s4ext")
    lines = description.read_text(encoding="utf-8").splitlines()
    return Installation(prefix, module.parent, dict(line.split(" ", 1) for line in lines))
