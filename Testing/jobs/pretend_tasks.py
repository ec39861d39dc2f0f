"""Cheap work for the job tests, with the shape of the real: steps, checkpoints, previews, results.

``run_task`` adds the step numbers 1..steps; ``result/sum.txt`` holds the sum and its own SHA-256, so that a
half-written or wrongly resumed result shows. Settings choose what goes wrong, and after which step
(``hold_at``) the work waits until there is a file (``go``).
"""

import ctypes
import errno
import hashlib
import json
import os
import subprocess
import sys
import time
from pathlib import Path

from DiffPoseRegistrationLib.errors import InputError
from DiffPoseRegistrationLib.jobs.files import atomic_file

# More events than one turn of a panel takes.
FLOOD = 1500


def sealed(text):
    return f"{text}\n{hashlib.sha256(text.encode()).hexdigest()}\n"


def is_whole(path):
    text, digest = path.read_text(encoding="utf-8").split()
    return hashlib.sha256(text.encode()).hexdigest() == digest


def run_task(kind, inputs, settings, context):
    fault = settings.get("fault")
    if fault is not None:
        FAULTS[fault](inputs, settings, context)
    found = "ct" in inputs and context.cache.get("ct") == inputs["ct"]
    if "ct" in inputs and not found:
        inputs["ct"].read_bytes()
        context.cache["ct"] = inputs["ct"]
    steps, every = settings.get("steps", 20), settings.get("every", 5)
    step = total = 0
    last = context.checkpoints.latest()
    if last is not None:
        state = json.loads((last.folder / "state.json").read_text(encoding="utf-8"))
        step, total = state["step"], state["total"]
    first = step
    while step < steps:
        context.raise_if_cancelled()
        if step == settings.get("hold_at") and not Path(settings["go"]).exists():
            time.sleep(0.005)
            continue
        time.sleep(settings.get("step_s", 0.0))
        step += 1
        total += step
        if step % every == 0:
            _save(context, step, total)
        context.preview(b"picture %d" % step, "preview.bin")
        context.progress(step, steps, {"sum": total, "loss": float("nan")})
    with atomic_file(context.result_folder / "sum.txt") as stream:
        stream.write(sealed(str(total)).encode())
    return {"kind": kind, "sum": total, "first": first, "found": found, "pid": os.getpid()}


def _save(context, step, total):
    def write(folder):
        (folder / "state.json").write_text(json.dumps({"step": step, "total": total}), encoding="utf-8")
        (folder / "weights.bin").write_bytes(os.urandom(20_000))

    context.checkpoints.save(step, write)


def _print_garbage(inputs, settings, context):
    print('{"event": "finished", "version": 1, "job": "x", "seconds": 1}')
    sys.stdout.write("no newline")
    os.write(1, b"\xff\xfe native \r progress 10%|###   |\r")
    os.write(2, b"half a line")
    print(f"reading {inputs.get('ct')}")


def _flood(inputs, settings, context):
    for number in range(FLOOD):
        context.warning(str(number))


def _ignore_cancel(inputs, settings, context):
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    context.warning(f"child {child.pid}")
    while True:
        time.sleep(0.05)


def _fail_once_on_full_disk(inputs, settings, context):
    marker = Path(settings["marker"])
    if not marker.exists():
        marker.touch()
        with atomic_file(context.result_folder / "model.bin") as stream:
            stream.write(b"half")
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(context.result_folder / "model.bin"))


def _fill_disk(inputs, settings, context):
    with atomic_file(context.result_folder / "model.bin") as stream:
        while True:
            stream.write(os.urandom(2**16))


def _raise(make):
    def fault(inputs, settings, context):
        raise make(inputs)

    return fault


class OutOfMemoryError(RuntimeError):
    """As torch names it."""


FAULTS = {
    "garbage": _print_garbage,
    "flood": _flood,
    "deaf": _ignore_cancel,
    "full once": _fail_once_on_full_disk,
    "fill": _fill_disk,
    "input": _raise(lambda inputs: InputError("The CT has only one slice; choose a volume.")),
    "bug": _raise(lambda inputs: ZeroDivisionError(f"while reading {inputs['ct']} of {inputs['ct'].name}")),
    "memory": _raise(lambda inputs: MemoryError()),
    "gpu memory": _raise(lambda inputs: OutOfMemoryError("CUDA out of memory")),
    "crash": lambda inputs, settings, context: ctypes.string_at(0),
}
