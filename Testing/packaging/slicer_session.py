"""A session of Slicer's stand-in with the installed extension: the thread from the sample case to its pose.

    python -I slicer_session.py MODULES TESTING STEPS

MODULES is the folder that the extension was installed to, TESTING has the stand-in, STEPS is how long the model is
trained. Prints one JSON object. Nothing but MODULES offers the library here, and the workers are started by the
PythonSlicer of the PATH.
"""

import json
import os
import sys
import tempfile
import time
from pathlib import Path

modules, testing, steps = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
sys.path.append(testing)

import doubles  # noqa: E402

application = doubles.install(tempfile.mkdtemp())

import slicer  # noqa: E402
import slicer.util  # noqa: E402
from doubles.scripted_module import discover, show_module  # noqa: E402

slicer.util.startupEnvironment = lambda: dict(os.environ)
slicer.mrmlScene = slicer.vtkMRMLScene()
application.applicationLogic().SetMRMLScene(slicer.mrmlScene)

module = discover(modules / "DiffPoseRegistration.py")
widget = show_module(module)

from DiffPoseRegistrationLib.app import sample_data  # noqa: E402
from DiffPoseRegistrationLib.app.ct_node import patient_ct  # noqa: E402
from DiffPoseRegistrationLib.jobs import process  # noqa: E402

logic = widget.logic
ct, xray, landmarks, reference = sample_data.make_phantom()
true = slicer.util.arrayFromTransformMatrix(reference)
start = true.copy()
start[:3, 3] += (8, 6, -6)


def prepare(folder: Path):
    """A training of a known number of steps, which the panel, counting minutes, does not offer."""
    settings = {
        "camera": sample_data.CAMERA.to_json(),
        "centre_camera_to_world_ras_mm": start,
        "rotation_deg": [10, 10, 10],
        "translation_mm": [20, 40, 20],
        "steps": steps,
        "device": "cpu",
    }
    return {"ct": patient_ct(ct).write(folder / "ct.nrrd")}, settings


logic.jobs.start("prepare", prepare)
while logic.jobs.state.is_busy:
    logic.jobs.poll()
    slicer.app.processEvents()
    time.sleep(0.01)
found = {"prepared": [logic.jobs.state.value, logic.jobs.problem]}
if found["prepared"][0] == "finished":
    model = logic.jobs.folder.result / "model.safetensors"
    for name, from_what in (("from pose", {"initial": start}), ("from model", {"model": str(model)})):
        outcome = logic.register(ct, xray, **from_what)
        found[name] = {"verdict": outcome.verdict, "pose": outcome.camera_to_world.tolist()}
widget.cleanup()
# The worker ends by itself; whoever looks at the folders afterwards finds it gone.
deadline = time.monotonic() + 120
while process.descendants(os.getpid()) and time.monotonic() < deadline:
    time.sleep(0.05)
found["truth"] = true.tolist()
found["landmarks"] = slicer.util.arrayFromMarkupsControlPoints(landmarks, world=True).tolist()
found["library"] = sys.modules["DiffPoseRegistrationLib"].__file__
found["heavy"] = sorted({"torch", "numba"} & set(sys.modules))
print(json.dumps(found))
