"""Two processes under torch's own launcher learn as one process with both their batches would."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from DiffPoseRegistrationLib.encoder import lessons
from DiffPoseRegistrationLib.encoder.distributed import launched, take_own_gpu
from DiffPoseRegistrationLib.encoder.lesson import Lesson
from DiffPoseRegistrationLib.encoder.lessons import Lessons
from DiffPoseRegistrationLib.encoder.parameterisation import Seen
from DiffPoseRegistrationLib.encoder.trainer import Trainer
from DiffPoseRegistrationLib.errors import InputError
from encoder_scenes import CAMERA, body_of, small_ct
from two_processes import SETTINGS, flat

HERE = Path(__file__).parent


@pytest.fixture(scope="module")
def two(tmp_path_factory):
    """What both processes left behind."""
    folder = tmp_path_factory.mktemp("two")
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--local-addr", "127.0.0.1"]
    command += ["--nproc-per-node", "2", str(HERE / "two_processes.py"), str(folder)]
    modules = os.pathsep.join(str(path) for path in (HERE.parents[1] / "DiffPoseRegistration", HERE))
    threads = {"OMP_NUM_THREADS": "1", "NUMBA_NUM_THREADS": "1"}
    environment = {**os.environ, **threads, "PYTHONPATH": modules, "CUDA_VISIBLE_DEVICES": ""}
    done = subprocess.run(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=900
    )
    assert done.returncode == 0, done.stdout
    facts = [json.loads((folder / f"{rank}.json").read_text(encoding="utf-8")) for rank in range(2)]
    return facts, [torch.load(folder / f"{rank}.pt", weights_only=True) for rank in range(2)]


def _alone(both):
    """The weights after as many steps of one process, with both processes' batches or with the first one's."""

    class Joined(Lessons):
        def lesson(self, number, done=1.0):
            made = []
            for rank in range(2 if both else 1):
                self._rank, self._processes = rank, 2
                made.append(super().lesson(number, done))
            return Lesson(
                torch.cat([one.images for one in made]),
                torch.cat([one.usable for one in made]),
                Seen(*(torch.cat(parts) for parts in zip(*(one.true for one in made)))),
                torch.cat([one.zooms for one in made]),
                np.concatenate([one.clean for one in made]),
                0,
                0,
            )

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys.modules[Trainer.__module__], "Lessons", Joined)
        patch.setattr(torch.cpu, "_is_avx512_bf16_supported", bool, raising=False)  # as in the two processes
        trainer = Trainer([body_of(small_ct())], CAMERA, SETTINGS, "cpu")
        with trainer.learning(1):
            for _ in range(SETTINGS.steps):
                assert trainer.step(trainer.done(), lambda: False)
    return flat(trainer.state.network)


def test_they_learn_as_one_process_with_both_batches(two):
    _, (first, second) = two
    assert torch.equal(first["weights"], second["weights"])
    together, alone = _alone(both=True), _alone(both=False)
    # Sums are rounded in another order; without the other's gradient the weights are elsewhere.
    assert (first["weights"] - together).norm() < 0.02 * (alone - together).norm()


def test_the_first_one_measures_and_reports(two):
    (first, second), _ = two
    assert first["record"]["images"] == SETTINGS.steps * SETTINGS.batch_size * 2
    assert first["record"]["processes"] == 2 and first["record"]["median_error_mm"] > 0
    assert first["told"] and not second["told"] and second["record"] == {"processes": 2}


def test_one_that_is_told_to_stop_stops_all_and_they_go_on_together(two):
    facts, (first, second) = two
    assert all(one["cancelled"] and one["stopped_at"] == 2 for one in facts)
    assert torch.equal(first["resumed"], first["weights"]) and torch.equal(second["resumed"], first["weights"])


def test_each_process_takes_a_gpu_of_its_own(monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 4)
    third = {"LOCAL_RANK": "2", "LOCAL_WORLD_SIZE": "3", "RANK": "5", "WORLD_SIZE": "6"}
    take_own_gpu(third)
    assert third["CUDA_VISIBLE_DEVICES"] == "2" and launched(third) == (5, 6)
    chosen = {"LOCAL_RANK": "1", "LOCAL_WORLD_SIZE": "2", "CUDA_VISIBLE_DEVICES": "4,7,1,0"}
    take_own_gpu(chosen)
    assert chosen["CUDA_VISIBLE_DEVICES"] == "7"
    alone = {}
    take_own_gpu(alone)
    assert alone == {} and launched(alone) == (0, 1)
    with pytest.raises(InputError, match="--nproc-per-node 4"):
        take_own_gpu({"LOCAL_WORLD_SIZE": "5"})
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    take_own_gpu({"LOCAL_WORLD_SIZE": "5"})


def test_of_many_volumes_only_the_last_simulators_are_kept(monkeypatch):
    monkeypatch.setattr(lessons, "KEPT", 2)
    bodies = [body_of(small_ct(seed)) for seed in (2, 3, 4)]
    taught = Lessons(bodies, CAMERA, SETTINGS)
    before = taught.lesson(7)
    assert len(taught._kept) == 2
    for number in range(6):
        assert taught.lesson(number).body == number % 3 and len(taught._kept) == 2
    again = taught.lesson(7)
    assert torch.equal(again.images, before.images) and again.body == 1
