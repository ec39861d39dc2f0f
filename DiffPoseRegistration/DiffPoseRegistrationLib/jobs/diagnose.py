"""What the worker's Python can do: packages, GPU, memory, where it can write. Runs only inside the worker."""

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
from pathlib import Path
from typing import Any

from .. import __version__
from .output import captured

_PACKAGES = ("numpy", "torch", "numba", "SimpleITK", "pydicom", "safetensors", "h5py")
_MIB = 2**20


def report(folder: Path | None = None) -> dict[str, Any]:
    """Everything as plain values; ``words`` says the same in sentences. ``folder`` is tried for writing too."""
    with captured(Path(os.devnull)):
        found: dict[str, Any] = {
            "program": __version__,
            "python": {
                "version": platform.python_version(),
                "executable": sys.executable,
                "bits": 64 if sys.maxsize > 2**32 else 32,
            },
            "system": {"name": platform.platform(), "machine": platform.machine(), "processors": os.cpu_count()},
            "packages": {name: _package(name) for name in _PACKAGES},
            "gpus": _gpus(),
        }
    places = {"temporary": Path(tempfile.gettempdir())}
    if folder is not None:
        places["folder"] = folder
    found["writable"] = {name: _write_test(path) for name, path in places.items()}
    found["words"] = _words(found)
    return found


def main(folder: Path | None, *, as_json: bool) -> int:
    """Print the report; returns 0 if jobs can run here, else 1."""
    found = report(folder)
    print(json.dumps(found, ensure_ascii=True) if as_json else "\n".join(found["words"]))
    able = all(found["packages"][name]["version"] for name in ("numpy", "torch", "numba"))
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
    gpus: dict[str, dict[str, Any]] = {}

    def note(name: str, by: str, total: float | None, free: float | None = None) -> None:
        gpu = gpus.setdefault(name, {"name": name, "memory_mib": None, "free_mib": None, "seen_by": []})
        gpu["memory_mib"] = gpu["memory_mib"] or (round(total) if total else None)
        gpu["free_mib"] = gpu["free_mib"] or (round(free) if free else None)
        gpu["seen_by"].append(by)

    for look in (_look_with_torch, _look_with_numba, _look_with_driver):
        with contextlib.suppress(Exception):  # not installed, no driver, too old: it does not see any
            look(note)
    return list(gpus.values())


def _look_with_torch(note: Any) -> None:
    import torch

    for index in range(torch.cuda.device_count()):
        free, total = torch.cuda.mem_get_info(index)
        note(torch.cuda.get_device_name(index), "torch", total / _MIB, free / _MIB)
    if torch.backends.mps.is_available():
        note("Apple GPU", "torch", None)


def _look_with_numba(note: Any) -> None:
    from numba import cuda

    if cuda.is_available():
        for device in cuda.list_devices():
            name = device.name
            with device:
                free, total = cuda.current_context().get_memory_info()
            note(name.decode() if isinstance(name, bytes) else name, "numba", total / _MIB, free / _MIB)


def _look_with_driver(note: Any) -> None:
    program = shutil.which("nvidia-smi")
    if program is None:
        return
    answer = subprocess.run(
        [program, "--query-gpu=name,memory.total,memory.free", "--format=csv,noheader,nounits"],
        capture_output=True,
        text=True,
        timeout=20,
        check=True,
        creationflags=getattr(subprocess, "CREATE_NO_WINDOW", 0),
    ).stdout
    for row in answer.splitlines():
        name, total, free = (text.strip() for text in row.split(","))
        note(name, "driver", float(total), float(free))


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
        else:
            words.append(f"{name} cannot be used ({package['error']}); install it in the Environment section.")
    for gpu in found["gpus"]:
        memory = f", {gpu['memory_mib']} MiB" if gpu["memory_mib"] else ""
        free = f" ({gpu['free_mib']} MiB free)" if gpu["free_mib"] else ""
        words.append(f"GPU: {gpu['name']}{memory}{free}, seen by {', '.join(gpu['seen_by'])}.")
    if not found["gpus"]:
        words.append("No GPU was found; everything runs on the processor.")
    elif not any({"torch", "numba"} & set(gpu["seen_by"]) for gpu in found["gpus"]):
        words.append("Neither torch nor numba sees the GPU; install their CUDA versions to use it.")
    for place in found["writable"].values():
        if place["error"]:
            words.append(f"{place['path']} cannot be written ({place['error']}); choose another folder.")
        else:
            words.append(f"{place['path']} can be written, {place['free_mib']} MiB free.")
    return words
