"""Pretraining by the command in two processes under torch's launcher, killed halfway and started again."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from DiffPoseRegistrationLib.encoder.pretrained import load_pretrained
from DiffPoseRegistrationLib.geometry.camera import Camera
from DiffPoseRegistrationLib.imaging.phantom import phantom_ct
from DiffPoseRegistrationLib.workflow.simulate import write_ct

LIBRARY = Path(__file__).parents[2] / "DiffPoseRegistration"
STEPS = 1500

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(os.name == "nt", reason="torchrun's gloo and killpg: not on Windows"),
]


def test_two_processes_that_are_killed_go_on(tmp_path):
    (tmp_path / "volumes").mkdir()
    for seed in range(3):
        write_ct(tmp_path / f"volumes/{seed}.nrrd", phantom_ct(seed, size=(80, 60, 80), spacing=4.0))
    camera = Camera(1020.0, 256, 256, (1.29, 1.29))
    (tmp_path / "camera.json").write_text(json.dumps({"camera": camera.to_json()}), encoding="utf-8")
    tiny = {"image_side": 32, "widths": [8, 16], "batch_size": 16, "validation_images": 60, "looks": 1}
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--local-addr", "127.0.0.1"]
    command += ["--nproc-per-node", "2", "-m", "DiffPoseRegistrationLib.commandline.main", "pretrain", "volumes"]
    command += ["--camera", "camera.json", "--steps", str(STEPS), "--training", json.dumps(tiny)]
    command += ["--checkpoints", "state", "--out", "pretrained.safetensors"]
    environment = {**os.environ, "PYTHONPATH": str(LIBRARY), "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}

    def start():
        return subprocess.Popen(command, cwd=tmp_path, env=environment, start_new_session=True)

    killed = start()
    deadline = time.monotonic() + 1800
    while not list((tmp_path / "state").glob("step-*")):
        assert killed.poll() is None and time.monotonic() < deadline
        time.sleep(0.2)
    os.killpg(killed.pid, signal.SIGKILL)
    killed.wait()
    saved = max(int(path.name.removeprefix("step-")) for path in (tmp_path / "state").glob("step-*"))
    assert 0 < saved < STEPS and not (tmp_path / "pretrained.safetensors").exists()
    assert start().wait(3600) == 0
    made = load_pretrained(tmp_path / "pretrained.safetensors")
    record = made.training
    assert record["processes"] == 2 and record["volumes"] == 3
    assert record["steps"] == STEPS and record["images"] == 2 * STEPS * 16
    assert record["median_error_mm"] < 0.8 * record["curve"][0]["median_mm"]
