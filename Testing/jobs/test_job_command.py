"""``jobs list | show | resume | cancel | clean`` as a person types them, and ``--diagnose``."""

import argparse
import importlib.metadata
import json
import os
import platform
import signal
import subprocess
import sys

import pytest
from DiffPoseRegistrationLib.errors import InputError
from DiffPoseRegistrationLib.jobs import events, lock, process
from DiffPoseRegistrationLib.jobs.command import add_jobs_command, cancel_job, list_jobs, run_job, show_job
from DiffPoseRegistrationLib.jobs.launcher import State
from DiffPoseRegistrationLib.jobs.stream import environment_for_worker
from waiting import PATIENCE_S, until, until_gone


def _jobs(*arguments) -> int:
    parser = argparse.ArgumentParser()
    add_jobs_command(parser.add_subparsers(required=True))
    options = parser.parse_args(["jobs", *map(str, arguments)])
    return options.run(options)


def test_a_job_from_waiting_to_gone(make_job, place, capsys):
    job = make_job("prepare", steps=8)
    assert _jobs("list", place) == 0
    assert "waiting" in capsys.readouterr().out
    assert _jobs("resume", job.path, "--tasks", "pretend_tasks") == 0
    out = capsys.readouterr().out
    assert "Started (attempt 1)." in out and "8 of 8" in out and "Result: result/sum.txt" in out and "Finished" in out
    assert _jobs("list", place, "--json") == 0
    (row,) = json.loads(capsys.readouterr().out)
    assert (row["state"], row["kind"], row["progress"]["done"]) == ("finished", "prepare", 8)
    assert _jobs("show", job.path) == 0
    assert "State     finished, 1 attempts" in capsys.readouterr().out
    with pytest.raises(InputError, match="finished"):
        run_job(job.path)
    assert _jobs("cancel", job.path) == 0
    assert "nobody was working" in capsys.readouterr().out
    assert _jobs("clean", job.path) == 0
    assert not job.path.exists()
    assert _jobs("list", place) == 0
    assert "no jobs" in capsys.readouterr().out
    for action in ("show", "resume", "cancel", "clean"):
        with pytest.raises(InputError):
            _jobs(action, job.path)


def test_resume_says_in_json_and_exit_code_how_it_ended(make_job, capfd):
    job = make_job(fault="input")
    assert _jobs("resume", job.path, "--json", "--tasks", "pretend_tasks") == 1
    seen = [events.parse(text.encode()) for text in capfd.readouterr().out.splitlines()]
    assert isinstance(seen[0], events.Started) and isinstance(seen[-1], events.Failed)
    assert show_job(job.path).status.problem.startswith("The CT has only one slice")


@pytest.mark.parametrize(("fault", "forced"), [(None, False), ("deaf", True)])
def test_cancel_reaches_a_worker_that_somebody_else_started(make_job, start_worker, fault, forced):
    job = make_job(fault=fault, steps=100_000, step_s=0.01)
    worker = start_worker(job)
    until(lambda: job.status().state == "running")
    if forced:
        until(lambda: process.descendants(worker.pid))
    children = process.descendants(worker.pid)
    assert cancel_job(job.path, grace_s=0.3 if forced else PATIENCE_S) is State.CANCELLED
    worker.wait(PATIENCE_S)
    until_gone(*children)
    assert job.status().state == "cancelled" and not job.stop.exists() and not lock.is_held(job.path)
    assert events.read(job.path)[-1].forced is forced


@pytest.mark.skipif(os.name == "nt", reason="signals are POSIX")
def test_ctrl_c_in_the_shell_stops_cleanly(make_job, start_python, start_worker):
    job = make_job(steps=100_000, step_s=0.01)
    code = "import sys; from DiffPoseRegistrationLib.jobs.command import run_job; from pathlib import Path; "
    code += "print(run_job(Path(sys.argv[1]), tasks='pretend_tasks')[0].value)"
    shell = start_python("-c", code, job.path, stdout=subprocess.PIPE, text=True)
    until(lambda: job.status().state == "running")
    shell.send_signal(signal.SIGINT)
    assert shell.communicate(timeout=PATIENCE_S)[0].strip() == "cancelled"
    worker = start_worker(job)  # and the same for a worker without a launcher
    until(lambda: job.status().state == "running")
    worker.send_signal(signal.SIGTERM)
    assert worker.wait(PATIENCE_S) == 3
    assert events.read(job.path)[-1].reason == "interrupted"


def test_damaged_jobs_are_listed_and_can_be_cleaned(make_job, place):
    good, bad = make_job(), make_job()
    (bad.path / "job.json").write_text("{")
    found = {summary.folder.path: summary.status for summary in list_jobs(place)}
    assert found[good.path].state == "waiting" and found[bad.path].state == "damaged"
    assert "damaged" in found[bad.path].problem and not found[bad.path].resumable
    assert bad.clean() == []


def _diagnosis(*arguments, **environment):
    """(exit code, JSON) of what a worker's Python says about itself."""
    answer = subprocess.run(
        [sys.executable, "-m", "DiffPoseRegistrationLib.jobs", "--diagnose", "--json", *map(str, arguments)],
        env={**environment_for_worker(), **environment},
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
    )
    return answer.returncode, json.loads(answer.stdout)


def test_diagnose_says_what_this_python_can_do(tmp_path):
    blocked = tmp_path / "file"
    blocked.write_text("x")
    code, found = _diagnosis("--folder", blocked, NUMBA_CACHE_DIR=str(tmp_path / "numba"))
    assert code == 1  # since the folder is a file
    assert found["python"]["version"] == platform.python_version()
    assert os.path.realpath(found["python"]["executable"]) == os.path.realpath(sys.executable)
    packages = {**{name: name for name in ("numpy", "torch", "numba", "pydicom", "cma")}, "PIL": "Pillow"}
    for name, package in packages.items():
        assert found["packages"][name]["version"].split("+")[0] == importlib.metadata.version(package).split("+")[0]
    assert found["writable"]["temporary"]["error"] is None and found["writable"]["folder"]["error"]
    assert found["writable"]["compiled"]["path"] == str(tmp_path / "numba")
    assert any(f"{blocked} cannot be written" in sentence for sentence in found["words"])
    assert any("GPU" in sentence for sentence in found["words"])


_TORCH = """
class version: cuda = "12.6"
class cuda:
    device_count = staticmethod(lambda: 2)
    mem_get_info = staticmethod(lambda index: ((5 + index) * 2**30, 8 * 2**30))
    get_device_name = staticmethod(lambda index: "Radiograph 9000")
class backends:
    class mps: is_available = staticmethod(lambda: False)
__version__ = "9.9"
"""


@pytest.mark.skipif(os.name == "nt", reason="needs a shell script")
def test_diagnose_on_a_computer_with_two_gpus_of_which_only_torch_makes_use(tmp_path):
    (tmp_path / "torch.py").write_text(_TORCH)
    (tmp_path / "numba.py").write_text("raise OSError('libcuda.so is of another planet')")
    (tmp_path / "cma.py").write_text("raise ModuleNotFoundError('cma')")
    script = tmp_path / "nvidia-smi"
    rows = "case $1 in *driver*) row=560.35;; *) row='Radiograph 9000, 8192, 4000';; esac"
    script.write_text(f'#!/bin/sh\n{rows}\necho "$row"; echo "$row"\n')
    script.chmod(0o755)
    code, found = _diagnosis(PYTHONPATH=os.pathsep.join([str(tmp_path), environment_for_worker()["PYTHONPATH"]]),
                             PATH=os.pathsep.join([str(tmp_path), os.environ["PATH"]]))  # fmt: skip
    words = "\n".join(found["words"])
    assert code == 1 and "numba cannot be used (OSError: libcuda.so is of another planet); install it" in words
    assert "cma is not installed; only the global search" in words  # and this is no obstacle
    assert found["cuda"] == {"torch": "12.6", "numba": None, "driver": "560.35"}
    assert [(gpu["memory_mib"], gpu["free_mib"]) for gpu in found["gpus"]] == [(8192, 5120), (8192, 6144)]
    assert all(gpu["seen_by"] == ["torch", "driver"] for gpu in found["gpus"])
    assert "GPU: Radiograph 9000, 8192 MiB (5120 MiB free), seen by torch, driver." in words
    assert "numba does not see the GPU" in words and "torch does not see" not in words


def test_diagnose_in_words(capsys):
    assert _jobs("diagnose") == 0
    out = capsys.readouterr().out
    assert f"Python {platform.python_version()}" in out and "(compiled code) can be written" in out
    assert "cannot" not in out
