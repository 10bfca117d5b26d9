"""The command `vstats manifest`."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from vstats.cli.manifest import manifest_command
from vstats.pipeline.errors import ManifestError
from vstats.pipeline.manifest import KIND_NAMES, read_manifest


@pytest.fixture
def ucf101(tmp_path: Path) -> Path:
    (tmp_path / "A").mkdir()
    (tmp_path / "A" / "v_A_g01_c01.avi").touch()
    (tmp_path / "train.txt").write_text("A/v_A_g01_c01.avi 1\nB/v_B_g01_c01.avi 2\nA/v_A_g01_c01.avi 1\n")
    return tmp_path


def run(*arguments: str, stdin: str | None = None) -> str:
    result = CliRunner().invoke(manifest_command, arguments, input=stdin, catch_exceptions=False)
    assert result.exit_code == 0
    assert result.stderr == ""
    return result.stdout


def test_people_read_it(ucf101: Path) -> None:
    lines = run(str(ucf101 / "train.txt")).splitlines()
    shown = dict(line.split(maxsplit=1) for line in lines[:7])
    assert shown["kind"] == "ucf101"
    assert (shown["rows"], shown["found"], shown["missing"], shown["duplicates"]) == ("2", "1", "1", "1")
    assert "  A/v_A_g01_c01.avi  label 0 (A)" in lines
    assert "  B/v_B_g01_c01.avi  label 1 (B)" in lines


def test_programs_read_it(ucf101: Path) -> None:
    facts = json.loads(run(str(ucf101 / "train.txt"), "--json", "--list-missing"))
    assert facts["missing_keys"] == ["B/v_B_g01_c01.avi"]
    assert facts["first_rows"] == [
        {"key": "A/v_A_g01_c01.avi", "found": True, "label": 0, "class": "A", "start_frames": None}
    ]
    assert (facts["classes"], facts["explicit_clips"], facts["notes"]) == (2, 0, [])
    assert facts["root"] == str(ucf101)


def test_missing_videos_are_listed(ucf101: Path) -> None:
    assert run(str(ucf101 / "train.txt"), "--list-missing").endswith("missing:\n  B/v_B_g01_c01.avi\n")


def test_the_canonical_form_is_written(ucf101: Path) -> None:
    out = ucf101 / "m.jsonl"
    run(str(ucf101 / "train.txt"), "-o", str(out))
    assert read_manifest([str(out)]).missing == read_manifest([str(ucf101 / "train.txt")]).missing


def test_paths_on_standard_input(ucf101: Path) -> None:
    facts = json.loads(run("-", "--root", str(ucf101), "--json", stdin="A/v_A_g01_c01.avi\n"))
    assert facts["found"] == 1


def test_a_problem_is_an_error(ucf101: Path) -> None:
    with pytest.raises(ManifestError, match="is not there") as caught:
        run(str(ucf101 / "nowhere.txt"))
    assert caught.value.exit_code == 2


def test_help_names_every_kind() -> None:
    text = " ".join(run("--help").split()).replace("- ", "-")
    assert all(kind in text for kind in KIND_NAMES)
