"""What a Python can do for jobs: packages, CUDA, GPU and its memory, where it can write. Imports all that is heavy."""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

from .. import __version__
from .output import captured

# Import names. What only some can do without is named with what needs it.
_NEEDED = ("numpy", "scipy", "torch", "numba", "SimpleITK", "pydicom", "safetensors", "PIL")
_OPTIONAL = {"cma": "the global search (method 'cma')"}
_MIB = 2**20
_APPLE = "Apple GPU"


def report(folder: Path | None = None) -> dict[str, Any]:
    """Everything as plain values; ``words`` says the same in sentences. ``folder`` is tried for writing too."""
    from ..rendering.compiled_cache import use_writable_cache

    with captured(Path(os.devnull)):
        found: dict[str, Any] = {
            "program": __version__,
            "python": {
                "version": platform.python_version(),
                "executable": sys.executable,
                "bits": 64 if sys.maxsize > 2**32 else 32,
            },
            "system": {"name": platform.platform(), "machine": platform.machine(), "processors": os.cpu_count()},
            "packages": {name: _package(name) for name in (*_NEEDED, *_OPTIONAL)},
            "cuda": {"torch": _look(_cuda_of_torch), "numba": _look(_cuda_of_numba), "driver": _look(_driver_version)},
            "gpus": _gpus(),
        }
    # In which folder compiled code is kept decides whether the next start has to compile again.
    places = {"temporary": Path(tempfile.gettempdir()), "compiled": use_writable_cache()}
    if folder is not None:
        places["folder"] = folder
    found["writable"] = {name: _write_test(path) for name, path in places.items()}
    found["words"] = _words(found)
    return found


def main(folder: Path | None, *, as_json: bool) -> int:
    """Print the report; returns 0 if jobs can run here, else 1."""
    found = report(folder)
    print(json.dumps(found, ensure_ascii=True) if as_json else "\n".join(found["words"]))
    able = all(found["packages"][name]["version"] for name in _NEEDED)
    return 0 if able and all(place["error"] is None for place in found["writable"].values()) else 1


def _package(name: str) -> dict[str, str | None]:
    """Its version, or why it cannot be imported (which for a broken binary may be any kind of error)."""
    try:
        module = importlib.import_module(name)
    except Exception as error:
        return {"version": None, "error": f"{type(error).__name__}: {error}"}
    version = getattr(module, "__version__", None)
    if version is None:
        with contextlib.suppress(Exception):
            from importlib.metadata import version as installed

            version = installed(name)
    return {"version": str(version or "unknown"), "error": None}


def _gpus() -> list[dict[str, Any]]:
    """Each GPU: name, memory in MiB, and which of torch, numba and the driver sees it."""
    gpus: dict[tuple[str, int], dict[str, Any]] = {}
    for by, look in (("torch", _gpus_of_torch), ("numba", _gpus_of_numba), ("driver", _gpus_of_driver)):
        names: list[str] = []
        for name, total, free in _look(look) or ():
            names.append(name)
            key = (name, names.count(name))  # the second of two alike is another one
            gpu = gpus.setdefault(key, {"name": name, "memory_mib": None, "free_mib": None, "seen_by": []})
            gpu["memory_mib"] = gpu["memory_mib"] or (round(total) if total else None)
            gpu["free_mib"] = gpu["free_mib"] or (round(free) if free else None)
            gpu["seen_by"].append(by)
    return list(gpus.values())


def _look(look: Callable[[], Any]) -> Any:
    """What ``look`` sees, None if it fails: not installed, no driver, too old."""
    with contextlib.suppress(Exception):
        return look()
    return None


def _cuda_of_torch() -> str | None:
    """The CUDA version that torch was built for."""
    import torch

    return torch.version.cuda


def _cuda_of_numba() -> str | None:
    """The version of the CUDA runtime that numba finds."""
    from numba import cuda
    from numba.cuda.cudadrv.runtime import runtime

    return ".".join(map(str, runtime.get_version())) if cuda.is_available() else None


def _driver_version() -> str | None:
    rows = _asked_driver("driver_version")
    return rows[0][0] if rows else None


# Each answers (name, memory in MiB, free memory in MiB) for every GPU.


def _gpus_of_torch() -> list[tuple[str, float | None, float | None]]:
    import torch

    found: list[tuple[str, float | None, float | None]] = []
    for index in range(torch.cuda.device_count()):
        free, total = torch.cuda.mem_get_info(index)
        found.append((torch.cuda.get_device_name(index), total / _MIB, free / _MIB))
    if torch.backends.mps.is_available():
        found.append((_APPLE, None, None))
    return found


def _gpus_of_numba() -> list[tuple[str, float, float]]:
    from numba import cuda

    found = []
    for device in cuda.list_devices() if cuda.is_available() else ():
        name = device.name
        with device:
            free, total = cuda.current_context().get_memory_info()
        found.append((name.decode() if isinstance(name, bytes) else name, total / _MIB, free / _MIB))
    return found


def _gpus_of_driver() -> list[tuple[str, float, float]]:
    return [
        (name, float(total), float(free)) for name, total, free in _asked_driver("name", "memory.total", "memory.free")
    ]


def _asked_driver(*names: str) -> list[list[str]]:
    """What NVIDIA's own tool answers, a row a GPU; empty where there is none."""
    program = shutil.which("nvidia-smi")
    if program is None:
        return []
    answer = subprocess.run(
        [program, f"--query-gpu={','.join(names)}", "--format=csv,noheader,nounits"],
        capture_output=True,
        text=True,
        timeout=20,
        check=True,
        creationflags=getattr(subprocess, "CREATE_NO_WINDOW", 0),
    ).stdout
    return [[text.strip() for text in row.split(",")] for row in answer.splitlines()]


def _write_test(path: Path) -> dict[str, Any]:
    """Whether a file can be made in ``path``, and how much room there is."""
    probe = path / f".diffpose-{uuid.uuid4().hex}.tmp"
    try:
        probe.write_bytes(b"x")
        probe.unlink()
        return {"path": str(path), "error": None, "free_mib": shutil.disk_usage(path).free // _MIB}
    except OSError as error:
        return {"path": str(path), "error": error.strerror or str(error), "free_mib": None}


def _words(found: dict[str, Any]) -> list[str]:
    python, system = found["python"], found["system"]
    words = [
        f"DiffPose {found['program']} in Python {python['version']} ({python['bits']} bit) at {python['executable']}.",
        f"{system['name']}, {system['processors']} processors.",
    ]
    for name, package in found["packages"].items():
        if package["version"]:
            words.append(f"{name} {package['version']} works.")
        elif name in _OPTIONAL:
            words.append(f"{name} is not installed; only {_OPTIONAL[name]} needs it.")
        else:
            remedy = "install it in the module's Environment section, or with pip outside Slicer"
            words.append(f"{name} cannot be used ({package['error']}); {remedy}.")
    cuda = found["cuda"]
    if any(cuda.values()):
        known = (("torch is built for CUDA", "torch"), ("numba finds CUDA", "numba"), ("driver", "driver"))
        words.append(", ".join(f"{what} {cuda[name]}" for what, name in known if cuda[name]) + ".")
    for gpu in found["gpus"]:
        memory = f", {gpu['memory_mib']} MiB" if gpu["memory_mib"] else ""
        free = f" ({gpu['free_mib']} MiB free)" if gpu["free_mib"] else ""
        words.append(f"GPU: {gpu['name']}{memory}{free}, seen by {', '.join(gpu['seen_by'])}.")
    if not found["gpus"]:
        words.append("No GPU was found; everything runs on the processor.")
    for name, what in (("torch", "learning"), ("numba", "rendering")):
        nvidia = [gpu for gpu in found["gpus"] if gpu["name"] != _APPLE]
        if nvidia and not any(name in gpu["seen_by"] for gpu in nvidia):
            words.append(f"{name} does not see the GPU, so {what} runs on the processor; install {name} for CUDA.")
    uses = {"temporary": " (temporary files)", "compiled": " (compiled code)", "folder": ""}
    for use, place in found["writable"].items():
        path = f"{place['path']}{uses[use]}"
        if place["error"]:
            words.append(f"{path} cannot be written ({place['error']}); choose another folder.")
        else:
            words.append(f"{path} can be written, {place['free_mib']} MiB free.")
    return words
