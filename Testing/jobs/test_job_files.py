"""The parts of a job folder one by one, against what NumPy, the file system and arithmetic say."""

import io
import json
import os
import random
import stat
import sys
import tempfile
from dataclasses import fields
from pathlib import Path, PureWindowsPath

import numpy as np
import pytest
from DiffPoseRegistrationLib.errors import Cancelled, InputError
from DiffPoseRegistrationLib.jobs import events, files, lock, paths
from DiffPoseRegistrationLib.jobs.checkpoint import CheckpointStore
from DiffPoseRegistrationLib.jobs.context import JobContext, StopRequest
from DiffPoseRegistrationLib.jobs.description import JobDescription, fingerprint
from DiffPoseRegistrationLib.jobs.folder import JobFolder, create_job, find_jobs
from DiffPoseRegistrationLib.jobs.remaining import RemainingTime
from waiting import PATIENCE_S


class Clock:
    """Time that passes only when told."""

    def __init__(self):
        self.now = 1000.0

    def __call__(self):
        return self.now


@pytest.fixture
def context(place):
    seen, clock = [], Clock()
    made = JobContext(JobFolder(place), "x", seen.append, StopRequest(), {}, clock=clock)
    made.seen, made.clock = seen, clock
    return made


# --- paths


@pytest.mark.parametrize("text", ["input/ct.nrrd", "input\\ct.nrrd", "Ärzte/骨盤 1.dcm"])
@pytest.mark.parametrize("windows", [False, True])
def test_relative_paths_of_both_systems_lie_in_the_folder(place, text, windows):
    expected = place / PureWindowsPath(text).parts[0] / PureWindowsPath(text).parts[1]
    assert paths.input_path(place, text, "Input ct", windows=windows) == expected


@pytest.mark.parametrize(
    "text", ["C:\\Users\\Jörg\\ct.nrrd", "d:/ct.nrrd", "\\\\server\\share\\ct", "\\\\?\\C:\\a very long path\\ct"]
)
def test_windows_paths_open_on_windows_and_elsewhere_say_so(place, text):
    assert PureWindowsPath(text).is_absolute()
    assert str(paths.input_path(place, text, "Input ct", windows=True)) == str(Path(text))
    with pytest.raises(InputError, match=r"chosen on Windows .* choose it again"):
        paths.input_path(place, text, "Input ct", windows=False)


def test_posix_paths_on_windows_say_so(place):
    with pytest.raises(InputError, match="another system"):
        paths.input_path(place, "/home/a/ct.nrrd", "Input ct", windows=True)
    assert paths.input_path(place, "/home/a/ct.nrrd", "Input ct", windows=False) == Path("/home/a/ct.nrrd")


@pytest.mark.parametrize(
    "text",
    [
        "..",
        "a/../b",
        "a//b",
        "/a",
        "C:a",
        "a:b",
        "con",
        "input/NUL.txt",
        "a ",
        "a.",
        "a\tb",
        "\\\\.\\PhysicalDrive0",
        7,
    ],
)
@pytest.mark.parametrize("windows", [False, True])
def test_paths_that_lead_elsewhere_are_refused(place, text, windows):
    with pytest.raises(InputError):
        paths.contained(place, text, "It")
    if text != "/a" or windows:
        with pytest.raises(InputError):
            paths.input_path(place, text, "It", windows=windows)


# --- description


def test_a_description_survives_the_file_and_its_inputs_stay_where_they_are(place, ct):
    folder = place / "job"
    (folder / "input").mkdir(parents=True)
    (folder / "input" / "x 1.dcm").write_bytes(b"1")
    job = JobFolder(folder)
    made = job.describe(
        "register", {"ct": ct, "xrays": ["input/x 1.dcm"], "model": None, "more": {"a": ct}}, {"levels": (1, 2)}
    )
    read = JobDescription.read(folder)
    assert read == made and read.settings == {"levels": [1, 2]}
    assert read.resolved_inputs(folder) == {
        "ct": ct, "xrays": [folder / "input" / "x 1.dcm"], "model": None, "more": {"a": ct},
    }  # fmt: skip
    assert set(read.fingerprints) == {"ct", "xrays/0", "more/a"}
    moved = folder.rename(place / "moved")  # a job is a folder: it may be carried elsewhere
    assert JobDescription.read(moved).resolved_inputs(moved)["xrays"] == [moved / "input" / "x 1.dcm"]
    with pytest.raises(InputError, match="holds a job already"):
        JobFolder(moved).describe("register", {}, {})


def test_what_cannot_be_run_is_refused_when_described(place, tmp_path):
    for inputs in ({"ct": tmp_path / "none.nrrd"}, {"ct": 5}, {"c t": None}, {"ct": [["x"]]}):
        with pytest.raises(InputError):
            create_job("register", inputs, {}, place)
    with pytest.raises(InputError):
        create_job("dance", {}, {}, place)
    assert list(place.iterdir()) == []  # and no folder is left of it


def test_a_fingerprint_sees_every_change_of_size_and_of_the_sampled_parts(tmp_path):
    path, size = tmp_path / "ct", 10 * 2**20
    content = bytearray(size)
    path.write_bytes(content)
    seen = {fingerprint(path)}
    for position in (0, size // 2, size - 1):
        content[position] ^= 1
        path.write_bytes(content)
        seen.add(fingerprint(path))
    path.write_bytes(content + b"\0")
    seen.add(fingerprint(path))
    seen.add(fingerprint(tmp_path))
    assert len(seen) == 6
    os.utime(path, (1, 1))
    assert fingerprint(path) in seen


# --- events


def test_every_kind_of_event_survives_the_line():
    samples = {"str": "result/ä", "int": 3, "float": 0.5, "bool": True, "dict[str, Any]": {"mTRE": 0.3}}
    for kind in events.TYPES.values():
        values = {item.name: samples[str(item.type).removesuffix(" | None")] for item in fields(kind)}
        event = kind(**values)
        text = events.line(event)
        assert text.isascii() and text.count(b"\n") == 1 and json.loads(text)["version"] == 1
        assert events.parse(text) == event
        assert events.parse(b"printed without an end of line " + text) == event


@pytest.mark.parametrize(
    "change",
    [{"version": 2}, {"event": "dance"}, {"done": "1"}, {"done": True}, {"done": None}, {"metrics": 1}, {"job": 1}],
)
def test_events_of_the_wrong_shape_are_no_events(change):
    good = json.loads(events.line(events.Progress("x", 1.0, 2.0)))
    assert events.parse(json.dumps(good).encode()) is not None
    assert events.parse(json.dumps({**good, **change}).encode()) is None


def test_a_file_named_by_an_event_cannot_lead_out_of_the_folder():
    for name in ("../secret", "/etc/passwd", "C:\\x", ""):
        assert events.parse(json.dumps({"event": "preview", "version": 1, "job": "x", "file": name}).encode()) is None


def test_no_line_whatever_makes_the_reader_fail():
    rng, good = random.Random(0), events.line(events.Progress("x", 1.0, 2.0, 3.0, {"a": 1}))
    for _ in range(3000):
        text = bytearray(good)
        for _ in range(rng.randrange(1, 6)):
            text[rng.randrange(len(text))] = rng.randrange(256)
        found = events.parse(bytes(text[: rng.randrange(len(text) + 1)]))
        assert found is None or isinstance(found, events.Event)
    assert events.parse(b'{"event": "' + b"[" * 200_000) is None


def test_a_line_after_a_torn_one_is_whole(place):
    for _ in range(2):
        file = events.EventFile(place)
        file.append(events.Warned("x", "whole"))
        file.close()
        with (place / events.FILE_NAME).open("ab") as stream:
            stream.write(b'{"event": "warn')
    assert [event.text for event in events.read(place)] == ["whole", "whole"]
    lines = (place / events.FILE_NAME).read_text(encoding="ascii").split("\n")
    assert [json.loads(lines[index])["text"] for index in (0, 2)] == ["whole", "whole"]  # for any other reader


# --- files and checkpoints


def test_a_file_is_whole_or_absent(place):
    target = place / "model.bin"
    target.write_bytes(b"old")
    with pytest.raises(RuntimeError), files.atomic_file(target) as stream:
        stream.write(b"half")
        stream.flush()
        assert target.read_bytes() == b"old"
        raise RuntimeError
    assert target.read_bytes() == b"old" and list(place.iterdir()) == [target]
    with files.atomic_file(target) as stream:
        stream.write(b"new")
    assert target.read_bytes() == b"new" and list(place.iterdir()) == [target]


def test_values_of_numpy_become_json(place):
    value = {"pose": np.eye(2), "n": np.int64(3), "x": np.float32(0.5), "nan": np.nan, "p": Path("a"), 1: (True, None)}
    files.write_json(place / "x.json", value)
    read = json.loads((place / "x.json").read_text(encoding="utf-8"))
    assert read == {"pose": [[1, 0], [0, 1]], "n": 3, "x": 0.5, "nan": None, "p": "a", "1": [True, None]}
    with pytest.raises(TypeError):
        files.plain(object())


def test_two_checkpoints_are_kept_and_a_failed_one_leaves_no_trace(place):
    store = CheckpointStore(place / "checkpoint")
    assert store.latest() is None
    for step in (1, 2, 3, 3):
        store.save(step, lambda folder, step=step: (folder / "x").write_text(str(step)))

    def fail(folder):
        (folder / "x").write_text("half")
        raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space"):
        store.save(4, fail)
    assert sorted(path.name for path in store.folder.iterdir()) == ["step-0000000002", "step-0000000003"]
    assert store.latest().step == 3 and (store.latest().folder / "x").read_text() == "3"
    (store.latest().folder / "x").write_text("4")  # same length, other content
    assert store.latest().step == 2
    (store.latest().folder / "complete.json").unlink()
    assert store.latest() is None


def test_the_lock_is_exclusive_and_given_back(place):
    assert not lock.is_held(place)
    first = lock.FolderLock(place)
    assert lock.is_held(place) and lock.holder(place)[0] == os.getpid()
    with pytest.raises(lock.Held, match=f"process {os.getpid()} on"):
        lock.FolderLock(place, patience_s=0.05)
    first.release()
    assert not lock.is_held(place) and lock.holder(place) is None
    lock.FolderLock(place, patience_s=0.0).release()


# --- what a task says


def test_a_preview_is_the_array_and_at_most_ten_a_second_are_written(context):
    picture = np.asfortranarray(np.random.default_rng(0).random((5, 7)).astype(np.float32))
    assert context.preview(picture)
    read = np.load(context.folder / "preview.npy", allow_pickle=False)
    assert read.dtype == picture.dtype and np.array_equal(read, picture)
    called = []
    for _ in range(100):
        context.clock.now += 0.011
        context.preview(lambda stream: called.append(stream.write(b"x")), "preview.bin")
    assert len(called) == 10  # and a picture that is not shown is not even made
    assert [event.file for event in context.seen] == ["preview.npy"] + ["preview.bin"] * 10
    for name in ("../preview.npy", "result.json"):
        with pytest.raises(ValueError, match="preview"):
            context.preview(b"", name)


def test_npy_headers_are_numpys(context):
    for picture in (np.zeros((3,), np.uint8), np.float64(2), np.arange(24.0).reshape(2, 3, 4)[:, ::2]):
        context.clock.now += 1
        assert context.preview(picture)
        read = np.load(io.BytesIO((context.folder / "preview.npy").read_bytes()))
        assert read.shape == picture.shape and np.array_equal(read, picture)


def test_progress_is_thinned_and_loses_no_metric_and_not_the_end(context):
    for step in range(1, 1001):
        context.clock.now += 0.01
        context.progress(step, 1000, {"loss": step, **({"rare": step} if step == 555 else {})})
    assert 85 <= len(context.seen) <= 102
    assert context.seen[-1].done == 1000 and context.seen[-1].eta_s == 0.0
    assert [event.metrics["rare"] for event in context.seen if "rare" in event.metrics] == [555]
    for done, total in ((2, 1), (-1, 1), (float("nan"), 1)):
        with pytest.raises(ValueError, match="progress"):
            context.progress(done, total)


def test_cancelled_looks_at_the_stop_file_every_50_ms(context):
    assert not context.cancelled()
    (context.folder / "stop").touch()
    context.clock.now += 0.049
    assert not context.cancelled()
    context.clock.now += 0.002
    assert context.cancelled()
    with pytest.raises(Cancelled):
        context.raise_if_cancelled()


def test_remaining_time_of_a_steady_pace_after_a_slow_start():
    clock = Clock()
    remaining = RemainingTime(clock)
    for seconds in (60, 20):  # imports, compilation: reported, but nothing is done
        assert remaining.update(500, 1000) is None
        clock.now += seconds
    said = []
    for step in range(501, 1001):  # resumed halfway: what an earlier attempt did says nothing about the pace
        said.append((remaining.update(step, 1000), (1000 - step) * 0.1))
        clock.now += 0.1
    assert all(value is None for value, _ in said[:10])
    assert all(value == pytest.approx(true, abs=1e-6) for value, true in said[20:])
    assert remaining.update(1000, 1000) == 0.0


def test_remaining_time_follows_a_change_of_pace_and_another_phase():
    clock = Clock()
    remaining = RemainingTime(clock)
    for step in range(100):
        remaining.update(step, 1000)
        clock.now += 0.1
    for step in range(100, 200):  # four times slower from here
        value = remaining.update(step, 1000)
        clock.now += 0.4
    assert value == pytest.approx(800 * 0.4, rel=0.05)
    assert remaining.update(1, 50) is None


# --- folders


@pytest.mark.skipif(os.name == "nt", reason="permission bits are POSIX")
def test_jobs_in_temporary_places_are_for_their_owner_only(ct, tmp_path, launch):
    os.umask(old := os.umask(0))
    os.umask(0o022)
    try:
        private = create_job("register", {"ct": ct}, {"steps": 3})
        assert private.path.parent == Path(tempfile.gettempdir()).resolve()
        assert stat.S_IMODE(private.path.stat().st_mode) == 0o700
        assert stat.S_IMODE(create_job("register", {}, {}, tmp_path).path.stat().st_mode) == 0o700
        launcher = launch()
        launcher.start(private.path)
        assert launcher.wait(PATIENCE_S).value == "finished"
        made = [path for path in private.path.rglob("*") if path.name not in ("job.json", "events.jsonl", "lock")]
        assert made and all(path.stat().st_mode & 0o077 == 0 for path in made)
        assert all("ller" not in str(path.relative_to(private.path)) for path in private.path.rglob("*"))
        assert private.clean() == [] and not private.path.exists()
    finally:
        os.umask(old)


def test_clean_removes_what_the_job_made_and_nothing_else(make_job, place):
    job, other = make_job(), make_job()
    job.result.mkdir()
    (job.result / "model.safetensors").write_bytes(b"x")
    (job.path / "preview.npy").write_bytes(b"x")
    (job.path / "notes of a surgeon.txt").write_text("keep")
    with lock.locked(job.path), pytest.raises(lock.Held):
        job.clean()
    assert job.clean() == [job.path / "notes of a surgeon.txt"]
    assert [path.name for path in job.path.iterdir()] == ["notes of a surgeon.txt"]
    for folder in (place, job.path, place / "absent"):
        with pytest.raises(InputError):
            JobFolder(folder).clean()
    assert find_jobs(place) == [other]


def test_folder_and_id_agree(place):
    job = create_job("simulate", {}, {}, place)
    assert JobDescription.read(job.path).id == job.path.name
    assert job.path.name.isascii()


def test_the_room_imports_the_standard_library_only():
    import ast

    room = Path(lock.__file__).parent
    for path in room.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom) and node.level == 0:
                names = [node.module]
            outside = {name.split(".")[0] for name in names} - sys.stdlib_module_names
            # The diagnosis looks at packages, but only when asked, and only inside the worker.
            assert outside <= ({"torch", "numba"} if path.name == "diagnose.py" else set()), (path.name, outside)
