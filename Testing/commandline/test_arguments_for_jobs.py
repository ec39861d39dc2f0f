"""What a command hands to a job that may run in another folder."""

from DiffPoseRegistrationLib.commandline.arguments import mapping_for_job


def test_a_mapping_in_a_file_is_found_from_anywhere_and_a_name_stays_one(tmp_path, monkeypatch):
    (tmp_path / "table.json").write_text("[[0, -1000], [1, 0]]", encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    assert mapping_for_job("table.json") == str((tmp_path / "table.json").resolve())
    assert mapping_for_job("vessels:300") == "vessels:300"
