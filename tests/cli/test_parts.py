"""Parts, merging and mending as a person types them."""

import json
from pathlib import Path

import pytest

from tests import videos
from vstats.cli.main import main
from vstats.pipeline.store import Store

ENGINE = ["--flow", "dis", "--workers", "0"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four videos, one of them broken, and a list of them and of one that is missing."""
    root = tmp_path_factory.mktemp("videos")
    for seed, name in enumerate(["a.mkv", "b.mkv", "c.mkv"]):
        videos.write_video(root / name, videos.moving_square("right", 6, 17, seed=seed))
    (root / "text.mp4").write_text("not a video\n")
    (root / "list.txt").write_text("c.mkv\nb.mkv\ntext.mp4\na.mkv\ngone.mp4\n")
    return root


def vstats(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[object, str, str]:
    with pytest.raises(SystemExit) as stop:
        main([str(a) for a in arguments])
    captured = capsys.readouterr()
    assert "Traceback" not in captured.err
    return stop.value.code, captured.out, captured.err


def test_parts_merge_and_mend(capsys: pytest.CaptureFixture[str], folder: Path, tmp_path: Path) -> None:
    code, _, _ = vstats(capsys, "extract", folder / "list.txt", "-o", tmp_path / "whole.vstats", *ENGINE)
    assert code == 1
    whole = Store.open(tmp_path / "whole.vstats").digest
    for number in (1, 2):
        part = tmp_path / f"{number}.vstats"
        code, _, err = vstats(
            capsys, "extract", folder / "list.txt", "--part", f"{number}/2", "-o", part, *ENGINE
        )
        assert code in (0, 1), err
    joined = tmp_path / "joined.vstats"
    merge = ["merge", tmp_path / "1.vstats", tmp_path / "2.vstats", "-o", joined]
    code, out, err = vstats(capsys, *merge)
    assert code == 0
    assert f"digest  {whole}" in out
    assert "1 failed, 1 missing, 3 ok" in out
    assert f"1 videos failed in the parts; `vstats retry-failed {joined}`" in err
    code, out, _ = vstats(capsys, *merge, "--json")
    assert code == 0
    assert json.loads(out)["already_complete"]
    code, out, _ = vstats(capsys, "extract", folder / "list.txt", "-o", joined, *ENGINE)
    assert "complete already" in out

    copy = tmp_path / "videos"
    copy.mkdir()
    for path in folder.iterdir():
        (copy / path.name).write_bytes(path.read_bytes())
    retry = ["retry-failed", joined, "--root", copy, "--workers", "0"]
    code, out, err = vstats(capsys, *retry)
    assert code == 1
    assert "retried  1 videos, 0 mended" in out
    assert "failed: text.mp4: [open]" in err
    assert "missing: 1 listed videos" in err
    videos.write_video(copy / "text.mp4", videos.moving_square("left", 6, 17), container="matroska")
    code, out, err = vstats(capsys, *retry)
    assert code == 0, err
    assert "mended: text.mp4" in out
    assert Store.open(joined).digest in out
    code, out, _ = vstats(capsys, *retry, "--json")
    assert code == 0
    assert json.loads(out)["missing"] == 1


def test_a_plan_shows_the_parts_and_writes_their_lists(
    capsys: pytest.CaptureFixture[str], folder: Path, tmp_path: Path
) -> None:
    code, out, _ = vstats(
        capsys, "plan", folder / "list.txt", "--parts", 2, "-o", tmp_path / "lists", "--json"
    )
    assert code == 0
    parts = json.loads(out)["parts"]
    assert [part["part"] for part in parts] == ["1/2", "2/2"]
    assert sum(part["found"] for part in parts) == 4
    assert sum(part["missing"] for part in parts) == 1
    assert sum(part["bytes"] for part in parts) == sum(p.stat().st_size for p in folder.glob("*.m*"))
    keys = []
    for number, part in enumerate(parts, start=1):
        listed = tmp_path / "lists" / f"part-{number}-of-2.jsonl"
        assert part["list"] == str(listed)
        keys += [json.loads(line)["key"] for line in listed.read_text().splitlines()[1:]]
    assert sorted(keys) == ["a.mkv", "b.mkv", "c.mkv", "gone.mp4", "text.mp4"]
    one = tmp_path / "one.jsonl"
    code, out, _ = vstats(capsys, "plan", folder / "list.txt", "--part", "2/2", "-o", one)
    assert code == 0
    assert one.read_bytes() == (tmp_path / "lists" / "part-2-of-2.jsonl").read_bytes()
    code, out, err = vstats(capsys, "plan", folder / "list.txt", "--parts", 40)
    assert code == 0
    assert out.splitlines()[0].endswith("list.txt (paths)")
    assert "holds no video that is there" in err
    code, out, _ = vstats(capsys, "plan", folder)
    assert "1/1" in out


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["plan", "{folder}", "--part", "3"], "NUMBER/PARTS"),
        (["plan", "{folder}", "--part", "3/2"], "does not exist"),
        (["plan", "{folder}", "--part", "1/2", "--parts", "2"], "exclude each other"),
        (["plan", "{folder}", "--part", "1/2", "-o", "{tmp}/list.txt"], ".jsonl"),
        (["plan"], "INPUT"),
        (["merge", "-o", "{tmp}/a.vstats"], "STORE"),
        (["merge", "a.vstats"], "--output"),
        (["extract", "{folder}", "--part", "0/2", "-o", "{tmp}/a.vstats"], "does not exist"),
    ],
)
def test_wrong_use_is_exit_code_2_and_said(
    capsys: pytest.CaptureFixture[str], folder: Path, tmp_path: Path, arguments: list[str], words: str
) -> None:
    code, out, err = vstats(capsys, *(a.format(folder=folder, tmp=tmp_path) for a in arguments))
    assert code == 2
    assert words in err
    assert out == ""


def test_no_store_is_exit_code_4(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    for command in (
        ["merge", tmp_path / "nowhere", "-o", tmp_path / "b"],
        ["retry-failed", tmp_path / "nowhere"],
    ):
        code, _, err = vstats(capsys, *command)
        assert code == 4
        assert "is not there" in err
    assert list(tmp_path.iterdir()) == []
