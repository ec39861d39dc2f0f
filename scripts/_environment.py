"""The Python environment of the commands in this folder: made once, checked at every start, then entered.

Standard library only, and in a grammar that Python 3.8 reads, so that every Python can say what it lacks.

What a person can set in the shell:

``DIFFPOSE_VENV``    folder of the environment (default ``.venv`` in the repository)
``DIFFPOSE_PYTHON``  a Python whose packages satisfy the pins already; then no environment is made
``NUMBA_CACHE_DIR``  where compiled kernels are kept (default inside the environment, or in the user's cache)
``PIP_...``          pip's own variables, for proxies, mirrors and indexes
"""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import platform
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import IO, NoReturn

from _pythons import EnvironmentProblem, clean_environment, find_python
from _requirements import REPOSITORY, check_installed, digest, pins, requirement_file

STAMP_NAME = "diffpose-environment.json"
LOCK_NAME = "diffpose-environment.lock"
ENTERED = "_DIFFPOSE_ENTERED"

# Megabytes of a first download by requirement set, added up from the sizes of the pinned wheels.
DOWNLOAD_MB = {
    "Windows": {"runtime": 250, "datasets": 4, "benchmark": 15, "test": 230, "develop": 20},
    "Darwin": {"runtime": 260, "datasets": 4, "benchmark": 15, "test": 305, "develop": 20},
    "Linux": {"runtime": 380, "datasets": 6, "benchmark": 20, "test": 310, "develop": 20},
}
# On Linux the torch of the Python Package Index brings NVIDIA's CUDA libraries with it.
CUDA_EXTRA_MB = 2500
# What unpacked wheels take on disk, as multiples of their size (measured on Linux).
UNPACKED, UNPACKED_CUDA = 4.5, 2.5


def launch(module: str, *sets: str) -> NoReturn:
    """Enter the environment with the requirement ``sets`` and end the process with ``module.main(argv)``.

    ``module`` is imported with ``DiffPoseRegistration/`` and ``scripts/`` on the path; its ``main`` takes the
    arguments after the command's name and returns the exit code.
    """
    enter(*sets)
    main = importlib.import_module(module).main
    try:
        sys.exit(main(sys.argv[1:]))
    except KeyboardInterrupt:
        print("\nInterrupted.", file=sys.stderr)
        sys.exit(130)


def enter(*sets: str) -> None:
    """Return inside an environment that has the requirement ``sets``; elsewhere run this command again in one.

    ``sets`` names files of ``requirements/`` without their suffix. Exits with code 2 and a sentence when no such
    environment can be had.
    """
    inside = os.environ.pop(ENTERED, None)
    try:
        own = os.environ.get("DIFFPOSE_PYTHON")
        if own:
            if inside != own:
                _run_again(own, own, dict(os.environ))
            check_installed(own, sets)
        else:
            venv = Path(os.environ.get("DIFFPOSE_VENV") or REPOSITORY / ".venv").expanduser().absolute()
            entered = inside == str(venv)
            # The version is compared as well: a system upgrade can put another Python behind the same link.
            if not entered or _read_stamp(venv).get("python") != _minor(sys.version_info):
                _ensure(venv, sets, anew=entered)
                _run_again(str(_python_of(venv)), str(venv), clean_environment())
            os.environ.setdefault("NUMBA_CACHE_DIR", str(venv / "numba-cache"))
    except EnvironmentProblem as problem:
        print(problem, file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        print("\nInterrupted.", file=sys.stderr)
        sys.exit(130)
    # Threads that wait spinning take the processor from those that work: a refinement is hundreds of short
    # parallel regions, and on a busy machine becomes several times slower.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    sys.path.insert(0, str(REPOSITORY / "DiffPoseRegistration"))


# ---------------------------------------------------------------------------------------------------------------
# Entering


def _run_again(python: str, mark: str, environment: dict[str, str]) -> NoReturn:
    """Replace this process by the same command under ``python``."""
    environment[ENTERED] = mark
    command = [shutil.which(python) or python, *sys.argv]
    try:
        if os.name == "posix":
            os.execve(command[0], command, environment)
        # On Windows exec returns to the shell at once, so the parent waits; Ctrl-C reaches the child by itself.
        child = subprocess.Popen(command, env=environment)
    except OSError as error:
        raise EnvironmentProblem(
            f"{python} cannot be started ({error.strerror}); remove its environment, or name another."
        ) from error
    while True:
        with contextlib.suppress(KeyboardInterrupt):
            sys.exit(child.wait())


def _python_of(venv: Path) -> Path:
    return venv / ("Scripts/python.exe" if os.name == "nt" else "bin/python")


def _minor(version: tuple) -> str:
    return f"{version[0]}.{version[1]}"


# ---------------------------------------------------------------------------------------------------------------
# The stamp: what the environment is known to have. "state" is "whole", "changing" (pip at work on a whole one)
# or "making"; anything but "whole" found at a start means that its maker was killed.


def _read_stamp(venv: Path) -> dict:
    try:
        stamp = json.loads((venv / STAMP_NAME).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return stamp if isinstance(stamp, dict) else {}


def _write_stamp(venv: Path, stamp: dict) -> None:
    temporary = venv / f"{STAMP_NAME}.part"
    temporary.write_text(json.dumps(stamp, indent=1) + "\n", encoding="utf-8")
    temporary.replace(venv / STAMP_NAME)


def _lacking(stamp: dict, sets: tuple[str, ...]) -> list[str]:
    """The requirement sets that a whole environment does not have as they are pinned now."""
    return [name for name in sets if stamp.get("sets", {}).get(name) != digest(name)]


def _is_whole(venv: Path, stamp: dict) -> bool:
    return stamp.get("state") == "whole" and _python_of(venv).exists()


# ---------------------------------------------------------------------------------------------------------------
# Making


def _ensure(venv: Path, sets: tuple[str, ...], anew: bool = False) -> None:
    """Make, complete or repair the environment, so that it is whole and has ``sets``; ``anew`` distrusts it."""
    stamp = _read_stamp(venv)
    if not anew and _is_whole(venv, stamp) and not _lacking(stamp, sets):
        return
    try:
        if venv.exists() and any(venv.iterdir()) and not stamp and not (venv / LOCK_NAME).exists():
            raise EnvironmentProblem(
                f"{venv} exists and was not made by DiffPose, so it is left alone; "
                "move it away, or name another folder in DIFFPOSE_VENV."
            )
        venv.mkdir(parents=True, exist_ok=True)
        with _locked(venv) as lock:
            stamp = _read_stamp(venv)  # another command may have finished it meanwhile
            if anew or not _is_whole(venv, stamp):
                _make(venv, sets, lock)
            elif _lacking(stamp, sets):
                _complete(venv, stamp, _lacking(stamp, sets), lock)
    except OSError as error:
        raise EnvironmentProblem(
            f"The environment in {venv} cannot be written ({error.strerror or error}); "
            "free some space or rights there, or name another folder in DIFFPOSE_VENV."
        ) from error


def _make(venv: Path, sets: tuple[str, ...], lock: IO) -> None:
    python = find_python()
    _say(f"First start: making a Python environment in {venv} with Python {'.'.join(map(str, python['version']))}; ")
    _empty(venv)
    stamp = {"state": "making", "python": _minor(python["version"]), "sets": {}}
    _write_stamp(venv, stamp)
    try:
        done = subprocess.run(
            [python["executable"], "-m", "venv", str(venv)],
            env=clean_environment(),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            encoding="utf-8",
            errors="replace",
        )
        if done.returncode:
            _say("\n")
            raise EnvironmentProblem(
                f"{python['executable']} could not make an environment; "
                f"install its venv module (on Debian and Ubuntu: python3-venv) or another Python 3.10 to 3.13. "
                f"It said:\n{_last_lines(done.stdout)}"
            )
        _install(venv, sets, sets, lock)
    except EnvironmentProblem:
        _empty(venv)
        raise
    _write_stamp(venv, {**stamp, "state": "whole", "sets": {name: digest(name) for name in sets}})


def _complete(venv: Path, stamp: dict, sets: list[str], lock: IO) -> None:
    _say(f"The Python environment in {venv} lacks what requirements/ now asks for ({', '.join(sets)}); ")
    _write_stamp(venv, {**stamp, "state": "changing"})
    try:
        # With the sets that it has, so that pip sees the pins of all.
        had = [name for name in stamp["sets"] if name not in sets and requirement_file(name).exists()]
        _install(venv, [*had, *sets], sets, lock)
    except EnvironmentProblem:
        # pip unpacks only after every download, so what was whole still is.
        _write_stamp(venv, stamp)
        raise
    _write_stamp(venv, {**stamp, "sets": {**stamp["sets"], **{name: digest(name) for name in sets}}})


def _install(venv: Path, sets: Sequence[str], new: Sequence[str], lock: IO) -> None:
    """Let pip install ``sets``, of which ``new`` have to be downloaded; says how much that is."""
    python = str(_python_of(venv))
    system = platform.system()
    megabytes = sum(DOWNLOAD_MB.get(system, DOWNLOAD_MB["Linux"])[name] for name in new)
    needed = megabytes * UNPACKED
    hint = ""
    if system == "Linux" and "runtime" in new and not _offers_cpu_torch(python):
        megabytes += CUDA_EXTRA_MB
        needed += CUDA_EXTRA_MB * UNPACKED_CUDA
        hint = ", most of it CUDA for torch (PIP_EXTRA_INDEX_URL set to PyTorch's CPU wheels avoids that)"
    size = f"{megabytes / 1000:.1f} GB" if megabytes >= 1000 else f"{megabytes} MB"
    _say(f"downloading about {size}{hint}.\n")
    free = shutil.disk_usage(venv).free / 1e6
    if free < needed:
        raise EnvironmentProblem(
            f"The disk of {venv} has {free / 1000:.1f} GB of free space where about {needed / 1000:.1f} GB are needed; "
            "free some, or name a folder on another disk in DIFFPOSE_VENV."
        )
    command = [python, "-m", "pip", "install", "--disable-pip-version-check", "--no-input", "--only-binary", ":all:"]
    for name in sets:
        command += ["-r", str(requirement_file(name))]
    output = []
    pip = subprocess.Popen(
        command,
        env=clean_environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        encoding="utf-8",
        errors="replace",
        # If this process is killed, pip goes on for a while: it holds the lock with us.
        pass_fds=(lock.fileno(),) if os.name == "posix" else (),
    )
    with pip, _status_line() as show:
        for line in pip.stdout:
            output.append(line.rstrip())
            if line.lstrip().startswith(("Downloading", "Using cached", "Installing")):
                show(line.strip())
    if pip.returncode:
        text = "\n".join(output)
        raise EnvironmentProblem(
            f"The packages could not be installed: {_remedy(text)}\nThe last that pip said:\n{_last_lines(text)}"
        )


def _offers_cpu_torch(python: str) -> bool:
    """Whether pip, as it is configured here, would take a CPU build of the pinned torch (it prefers it then)."""
    done = subprocess.run(
        [python, "-m", "pip", "index", "versions", "torch", "--disable-pip-version-check", "--retries", "1"],
        env=clean_environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        encoding="utf-8",
        errors="replace",
    )
    return f"{pins('runtime')['torch']}+cpu" in done.stdout


def _remedy(output: str) -> str:
    """What to do about a failed pip, by what it printed."""
    if re.search(r"No space left|not enough space|Errno 28", output, re.IGNORECASE):
        return "the disk is full; free some space (also in the temporary folder, TMPDIR) and start again."
    network = (
        r"NewConnectionError|ConnectionError|name resolution|getaddrinfo|timed out|Network is unreachable|ProxyError|"
        r"SSLError|CERTIFICATE_VERIFY_FAILED|Connection (refused|reset|broken|aborted)"
    )
    if re.search(network, output):
        return (
            "the package index was not reached; check the network (behind a proxy set HTTPS_PROXY, "
            "for a mirror PIP_INDEX_URL) and start again."
        )
    if re.search(r"No matching distribution|Could not find a version", output):
        return (
            f"a package has no wheel for this system ({platform.system()} {platform.machine()}, Python "
            f"{platform.python_version()}) on the package index; DiffPose runs on Windows x64, Linux x64 (glibc) and "
            "macOS 14 on Apple silicon."
        )
    return "pip failed; mend what it names and start again."


def _last_lines(text: str, count: int = 6) -> str:
    lines = [line.strip()[:300] for line in text.splitlines() if line.strip()]
    telling = [line for line in lines if not line.startswith(("WARNING: Retrying", "Ignoring"))]
    return "\n".join(f"  {line}" for line in (telling or lines)[-count:])


def _empty(venv: Path) -> None:
    """Remove what an environment holds, except its lock, which this process has."""
    for entry in venv.iterdir():
        if entry.name == LOCK_NAME:
            continue
        if entry.is_dir() and not entry.is_symlink():
            shutil.rmtree(entry)
        else:
            entry.unlink()


# ---------------------------------------------------------------------------------------------------------------
# Terminal and lock


def _say(text: str) -> None:
    sys.stderr.write(text)
    sys.stderr.flush()


@contextlib.contextmanager
def _status_line() -> Iterator[Callable[[str], None]]:
    """One terminal line that is written over by what comes next; silent where the output is no terminal."""
    if not sys.stderr.isatty():
        yield lambda text: None
        return
    width = shutil.get_terminal_size().columns - 1
    try:
        yield lambda text: _say("\r" + f"  {text}"[:width].ljust(width))
    finally:
        _say("\r" + " " * width + "\r")


@contextlib.contextmanager
def _locked(venv: Path) -> Iterator[IO]:
    """Hold the environment's lock; the system frees it when its holder ends in whatever way."""
    with (venv / LOCK_NAME).open("a+") as file:
        waiting = False
        while not _try_lock(file):
            if not waiting:
                _say(f"Waiting for another command that is preparing {venv} ...\n")
                waiting = True
            time.sleep(0.3)
        yield file


if os.name == "nt":
    import msvcrt

    def _try_lock(file: IO) -> bool:
        file.seek(0)
        try:
            msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
        except OSError:
            return False
        return True

else:
    import fcntl

    def _try_lock(file: IO) -> bool:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            return False
        return True
