"""Awkward paths and whole-or-nothing writing."""

from pathlib import Path

import pytest
from DiffPoseRegistrationLib.errors import InputError
from DiffPoseRegistrationLib.imaging.files import existing_file, write_whole
from DiffPoseRegistrationLib.imaging.image_file import call_simpleitk


def test_format_that_cannot_open_the_path_reads_a_copy(tmp_path):
    """As some of ITK's formats do on Windows: nothing but ASCII opens."""
    path = tmp_path / "Größe.nii.gz"
    path.write_text("content")
    asked = []

    def read(paths: list[str]) -> str:
        asked.extend(paths)
        if not paths[0].isascii():
            raise RuntimeError("cannot open")
        return Path(paths[0]).read_text()

    assert call_simpleitk(read, [path]) == "content"
    assert asked[1].endswith(".nii.gz") and not Path(asked[1]).exists()  # the copy is gone


def test_failure_with_a_plain_path_is_passed_on(tmp_path):
    def read(paths: list[str]) -> str:
        raise RuntimeError("damaged")

    with pytest.raises(RuntimeError, match="damaged"):
        call_simpleitk(read, [tmp_path / "plain.nrrd"])


def test_failed_writing_keeps_the_old_file(tmp_path):
    path = tmp_path / "pose.h5"
    path.write_text("old")

    def write(made: Path) -> None:
        made.write_text("half")
        raise RuntimeError("interrupted")

    with pytest.raises(RuntimeError, match="interrupted"):
        write_whole(path, write)
    assert path.read_text() == "old" and len(list(tmp_path.iterdir())) == 1


def test_folder_is_no_file(tmp_path):
    with pytest.raises(InputError, match="is a folder"):
        existing_file(tmp_path, "X-ray")
