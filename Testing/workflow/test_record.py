"""What a record says of its circumstances, and what it leaves out."""

import subprocess
from pathlib import Path

from DiffPoseRegistrationLib.workflow.record import circumstances, published, published_command, revision


def test_circumstances():
    found = circumstances("evaluate", "the command")
    assert list(found) == ["name", "command", "date", "revision", "machine", "versions"]
    assert found["name"] == "evaluate" and found["command"] == "the command"
    assert found["date"].endswith("+00:00") and found["machine"]["cores"] and found["versions"]["numpy"]


def test_the_revision_is_that_of_the_tree_itself(tmp_path):
    def git(*words):
        options = ["-c", "user.name=a", "-c", "user.email=a@b.org", "-C", str(tmp_path)]
        return subprocess.run(["git", *options, *words], check=True, capture_output=True, text=True).stdout.strip()

    git("init")
    (tmp_path / "file").write_text("one", encoding="utf-8")
    git("add", "file")
    git("commit", "-m", "a")
    commit = git("rev-parse", "HEAD")
    assert revision(tmp_path) == {"commit": commit, "modified": False}
    (tmp_path / "file").write_text("two", encoding="utf-8")
    assert revision(tmp_path) == {"commit": commit, "modified": True}
    (tmp_path / "installed").mkdir()  # a copy inside another repository
    assert revision(tmp_path / "installed") == {"commit": None, "modified": None}


def test_commands_name_neither_the_output_nor_this_machines_folders(tmp_path):
    argv = ["evaluate", "--ct", str(tmp_path / "a b.nrrd"), "--out", str(tmp_path), "--seed", "3", f"--out={tmp_path}"]
    assert published_command("scripts/diffpose", argv) == "scripts/diffpose evaluate --ct 'a b.nrrd' --seed 3"
    assert published_command("x", ["--out"]) == "x"


def test_what_a_shell_made_of_an_asterisk_is_one_again(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("a", "b", ".hidden"):
        (tmp_path / "cases" / name).mkdir(parents=True)
    everything, some = ["--cases", "cases/a", "cases/b", "--seed", "3"], ["--cases", "cases/b", "--seed", "3"]
    assert published_command("x", everything) == "x --cases cases/* --seed 3"
    assert published_command("x", some) == "x --cases cases/b --seed 3"
    assert published_command("x", ["--cases", "cases/a b", "cases/b"]) == "x --cases 'cases/a b' cases/b"


def test_paths_in_values(tmp_path):
    value = {"kept": 1}
    assert published([tmp_path / "ct.nrrd", Path("below/ct.nrrd"), "AP", 3, value]) == [
        "ct.nrrd", str(Path("below/ct.nrrd")), "AP", 3, value
    ]  # fmt: skip
