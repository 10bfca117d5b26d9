"""`vstats show`, `families` and the margins that `inspect` prints, as a person meets them."""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from tests import videos
from vstats.cli.main import main
from vstats.kernels import patterns
from vstats.pipeline.report import Margins, inspect
from vstats.pipeline.store import Store


class Outcome:
    def __init__(self, code: object, out: str, err: str) -> None:
        self.code, self.out, self.err = code, out, err


def vstats(capsys: pytest.CaptureFixture[str], *arguments: object) -> Outcome:
    with pytest.raises(SystemExit) as stop:
        main([str(a) for a in arguments])
    captured = capsys.readouterr()
    return Outcome(stop.value.code, captured.out, captured.err)


def extract(source: Path, store: Path, *options: str) -> Path:
    with pytest.raises(SystemExit):
        main(["extract", str(source), "-o", str(store), "--flow", "dis", "--workers", "0", *options])
    return store


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("videos")
    videos.write_video(root / "a square.mkv", videos.moving_square("right", 13, 17))
    videos.write_video(root / "still.mkv", videos.still(17))
    return root


@pytest.fixture(scope="module")
def store(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return extract(folder, tmp_path_factory.mktemp("stores") / "a.vstats", "--statistics", "--flip", "both")


def test_a_row_a_video_and_a_sheet(
    capsys: pytest.CaptureFixture[str], folder: Path, store: Path, tmp_path: Path
) -> None:
    for arguments, rows in (
        (["--row", 0], "row 0"),
        (["--row", "1"], "row 1"),
        (["--video", "still.mkv"], "row 2"),
        (["--video", "still.mkv", "--row", 1], "row 3"),
        (["--rows", "1:3"], "rows 1 to 2"),
        (["--rows", ":"], "rows 0 to 3"),
        (["--video", "still.mkv", "--rows", "1:", "--root", folder], "rows 3 to 3"),
    ):
        done = vstats(capsys, "show", store, *arguments, "-o", tmp_path / "a.png")
        assert (done.code, done.err) == (0, "")
        assert done.out == f"{rows} drawn to {tmp_path / 'a.png'}\n"
        assert cv2.imread(str(tmp_path / "a.png")).shape[1] > 500


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "--row N, --rows A:B or --video KEY"),
        (["--row", "4"], "rows 0 to 3"),
        (["--row", "-1"], "rows 0 to 3"),
        (["--video", "still.mkv", "--row", "2"], "still.mkv has rows 0 to 1"),
        (["--rows", "3:5"], "rows 0 to 3"),
        (["--rows", "3:2"], "hold no row"),
        (["--rows", "3"], "must be A:B"),
        (["--rows", "a:b"], "must be A:B"),
        (["--row", "1", "--rows", "0:2"], "exclude each other"),
        (["--video", "stil.mkv"], "did you mean still.mkv"),
        (["--row", "0", "-o", "a.bmp"], ".png or .jpg"),
    ],
)
def test_wrong_use_is_said(
    capsys: pytest.CaptureFixture[str], store: Path, tmp_path: Path, arguments: list[str], words: str
) -> None:
    done = vstats(capsys, "show", store, "-o", tmp_path / "a.png", *arguments)
    assert done.code == 2
    assert words in done.err
    assert done.out == ""
    assert list(tmp_path.iterdir()) == []


def test_a_video_that_is_gone_points_to_root(
    capsys: pytest.CaptureFixture[str], store: Path, tmp_path: Path
) -> None:
    done = vstats(capsys, "show", store, "--row", 0, "-o", tmp_path / "a.png", "--root", tmp_path)
    assert done.code == 1
    assert "--root" in done.err


def test_a_difference_is_exit_code_3(
    capsys: pytest.CaptureFixture[str], store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = Store.read

    def other(self: Store, name: str, start: int = 0, stop: int | None = None) -> object:
        values = read(self, name, start, stop)
        return values % 8 + 1 if name == "labels/appearance/global" else values

    monkeypatch.setattr(Store, "read", other)
    done = vstats(capsys, "show", store, "--row", 0, "-o", tmp_path / "a.png")
    assert done.code == 3
    assert "not as stored: row 0: appearance/global/dominant_col is stored as" in done.err
    assert (tmp_path / "a.png").exists()


def test_families_names_every_label_and_pattern(capsys: pytest.CaptureFixture[str]) -> None:
    text = vstats(capsys, "families").out
    facts = json.loads(vstats(capsys, "families", "--json").out)
    assert [f["name"] for f in facts["families"]] == ["motion", "appearance"]
    assert [p["name"] for p in facts["patterns"]] == list(patterns.names())
    assert facts["patterns"][1]["compare"] == "mean"
    for family in facts["families"]:
        assert family["version"] == 1
        for name, meaning in (family["columns"] | family["global_columns"]).items():
            assert f"{name} " in text
            assert meaning in text
    assert sum(3 * len(f["columns"]) + len(f["global_columns"]) for f in facts["families"]) == 27


def test_inspect_shows_margins_and_stillness(capsys: pytest.CaptureFixture[str], store: Path) -> None:
    text = vstats(capsys, "inspect", store).out
    assert "no motion    50.0% of the rows that decode" in text
    assert "< 1%    < 5%   < 10%     25 %    50 %    75 %" in text
    facts = json.loads(vstats(capsys, "inspect", store, "--json").out)
    assert len(facts["margins"]) == 28
    assert facts["margins"]["motion_global_u_frame"]["count"] == 2  # the still rows have no such label
    assert facts["margins"]["appearance_global_dominant_col"]["count"] == 4
    every = facts["margins"]["all"]
    assert every["count"] == sum(m["count"] for n, m in facts["margins"].items() if n != "all")
    assert 0 < every["below"]["1%"] <= every["below"]["5%"] <= every["below"]["10%"] < 1
    # The same from the arrays, in another way.
    opened = Store.open(store)
    won = opened.read("margins/appearance/global")[:, 0]
    found = facts["margins"]["appearance_global_dominant_col"]
    assert found["below"]["10%"] == pytest.approx((won < 0.1).mean())


def test_margins_are_counted_exactly() -> None:
    counts = np.zeros(1001, np.int64)
    counts[[0, 9, 10, 49, 99, 100, 500, 1000]] = 1
    margins = Margins.from_counts(counts)
    assert margins.below == {"1%": 2 / 8, "5%": 4 / 8, "10%": 5 / 8}
    assert margins.quartiles == (0.009, 0.049, 0.1)
    nothing = Margins.from_counts(np.zeros(1001, np.int64))
    assert (nothing.count, nothing.below["5%"], nothing.quartiles) == (0, 0.0, (0.0, 0.0, 0.0))


@pytest.mark.parametrize("profile", ["sts-released", "mas-released"])
def test_stillness_is_counted_in_every_profile(folder: Path, tmp_path: Path, profile: str) -> None:
    options = ["--profile", profile, "--flow-size", "working"]
    found = inspect(Store.open(extract(folder, tmp_path / "a.vstats", *options)))
    assert found.no_motion == 0.5
    assert found.margins == {}
