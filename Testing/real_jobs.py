"""Real work, small enough for a test: a patient of 80 x 60 x 80 voxels, jobs on it, and what must not be half."""

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from DiffPoseRegistrationLib.encoder.model_file import load_model
from DiffPoseRegistrationLib.geometry import rigid
from DiffPoseRegistrationLib.geometry.camera import Camera
from DiffPoseRegistrationLib.geometry.pose_range import view_pose
from DiffPoseRegistrationLib.imaging.phantom import phantom_ct
from DiffPoseRegistrationLib.imaging.pose_file import read_pose
from DiffPoseRegistrationLib.imaging.values import CTVolume
from DiffPoseRegistrationLib.jobs.files import is_temporary
from DiffPoseRegistrationLib.jobs.folder import JobFolder, create_job
from DiffPoseRegistrationLib.workflow.simulate import simulate_xray, write_ct, write_xray_dicom
from PIL import Image

CAMERA = Camera(1020.0, 192, 192, (1.9, 1.9))


@dataclass(frozen=True)
class Patient:
    """Files of a generated patient with one X-ray, and the X-ray's true pose [4, 4]."""

    ct_file: Path
    xray_file: Path
    pose: np.ndarray
    ct: CTVolume

    @classmethod
    def write(cls, folder: Path) -> "Patient":
        ct = phantom_ct(size=(80, 60, 80), spacing=4.0)
        pose = view_pose("AP", ct.centre_ras, 765.0)
        write_ct(folder / "ct.nrrd", ct)
        write_xray_dicom(folder / "xray.dcm", simulate_xray(ct, CAMERA, pose), CAMERA)
        return cls(folder / "ct.nrrd", folder / "xray.dcm", pose, ct)

    def prepare(self, place: Path, steps: int, **settings) -> JobFolder:
        """A job that trains for so many steps."""
        described = {
            "camera": CAMERA.to_json(),
            "centre_camera_to_world_ras_mm": self.pose,
            "rotation_deg": [20, 20, 10],
            "translation_mm": [30, 60, 30],
            "steps": steps,
            "seed": 3,
            "device": "cpu",
            "training": {"validation_images": 20, "looks": 1},
            **settings,
        }
        return create_job("prepare", {"ct": self.ct_file}, described, place)

    def register(self, place: Path, turn: float = 0.05, **settings) -> JobFolder:
        """A job that finds the X-ray's pose from one that is a few degrees and millimetres off."""
        start = rigid.update_pose(self.pose, np.array([turn, -0.03, 0.03, 4, 5, -4]), self.ct.centre_ras)
        described = {"initial_camera_to_world_ras_mm": start, **settings}
        return create_job("register", {"ct": self.ct_file, "xray": self.xray_file, "model": None}, described, place)


def assert_nothing_is_half(job: JobFolder) -> None:
    """Everything under a final name can be read by whoever reads such files."""
    readers = {
        ".json": lambda path: json.loads(path.read_text(encoding="utf-8")),
        ".h5": read_pose,
        ".png": lambda path: Image.open(path).load(),
        ".npy": np.load,
        ".safetensors": load_model,
    }
    for path in job.path.rglob("*"):
        # What a checkpoint holds is the training's own; its manifest tells whether it is whole.
        in_checkpoint = job.checkpoint in path.parents
        if path.is_file() and not in_checkpoint and not is_temporary(path) and path.suffix in readers:
            readers[path.suffix](path)
    if job.checkpoint.is_dir():
        named = [path for path in job.checkpoint.iterdir() if not is_temporary(path)]
        assert not named or job.checkpoints.latest().folder == max(named)
