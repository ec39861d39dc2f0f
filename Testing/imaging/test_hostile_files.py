"""Harmed DICOM files and hostile volume headers: no crash, no hang, no flood of memory, and a sentence for each that
cannot be used. A sample of each kind in the quick suite; all five hundred and two hundred as a trial of minutes."""

import io
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from DiffPoseRegistrationLib.errors import InputError
from DiffPoseRegistrationLib.geometry.camera import Camera
from DiffPoseRegistrationLib.imaging.compressed_frames import stated_size
from DiffPoseRegistrationLib.imaging.xray_reader import read_xray
from hostile_files import MOST_MEMORY, compressed_stream, write_hostile_volumes, write_mutated_dicoms, write_stream
from PIL import Image

LIBRARY_FOLDER = Path(__file__).resolve().parents[2] / "DiffPoseRegistration"


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="memory is limited and read as Linux does")
@pytest.mark.parametrize(
    ("write", "count"),
    [
        (write_mutated_dicoms, 56),
        (write_hostile_volumes, 24),
        pytest.param(write_mutated_dicoms, 500, marks=pytest.mark.slow),
        pytest.param(write_hostile_volumes, 200, marks=pytest.mark.slow),
    ],
)
def test_harmed_files(tmp_path, write, count):
    write(tmp_path, count, seed=8)
    assert len(list(tmp_path.iterdir())) == count
    paths = [str(LIBRARY_FOLDER), str(Path(__file__).parent)]
    done = subprocess.run(
        [sys.executable, str(Path(__file__).with_name("hostile_files.py")), str(tmp_path)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(paths), "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=3000,
        check=False,
    )
    said = [json.loads(line) for line in done.stdout.splitlines()]
    assert done.returncode == 0, (said[-1:], done.stderr[-2000:])
    *said, (word, peak, _) = said
    assert word == "peak" and peak < MOST_MEMORY
    assert len(said) == 3 * count
    assert max(seconds for *_, seconds in said) < 10  # of the processor, whatever else runs on this machine
    for name, sentence, _ in said:
        if not sentence.startswith("read "):
            # The file, what is wrong with it, what to do; one sentence or two, whatever was in the file.
            assert name in sentence and "\n" not in sentence and 40 < len(sentence) < 600, sentence
            assert sentence.isprintable(), repr(sentence)
    refused = {name for name, sentence, _ in said if not sentence.startswith("read ")}
    assert len(refused) >= count / 2


@pytest.mark.parametrize("kind", ["JPEG", "JPEG2000"])
def test_compressed_stream_that_states_another_size(tmp_path, kind):
    """A decoder would make room for it: eight bytes would cost sixteen gigabytes."""
    camera = Camera(1000, 56, 64, (0.5, 0.25))
    stream, path = compressed_stream(kind), tmp_path / "x.dcm"
    assert stated_size(stream) == (56, 64) == Image.open(io.BytesIO(stream)).size[::-1]
    write_stream(path, stream, kind)
    assert read_xray(path, camera).attenuation.shape == (56, 64)
    old, new = np.array([56, 64, 65500, 65500], ">u2" if kind == "JPEG" else ">u4").reshape(2, 2)[
        :, :: 1 if kind == "JPEG" else -1
    ]
    lie = stream.replace(old.tobytes(), new.tobytes())
    assert stated_size(lie) == (65500, 65500)
    write_stream(path, lie, kind)
    with pytest.raises(InputError, match="damaged"):
        read_xray(path, camera)


def test_stated_size_of_what_is_none():
    for stream in (b"", b"\xff\xd8", b"\xff\xd8\xff\xdb\0", b"\xff\x4f\xff\x51\0\x29", b"\0" * 64, b"\xff\xd8\xff\xd9"):
        assert stated_size(stream) is None
