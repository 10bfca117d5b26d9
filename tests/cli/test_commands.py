"""What a person sees: results on stdout, progress and errors on stderr, and the exit code."""

import csv
import io
import json
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from tests import videos
from vstats.cli.main import main
from vstats.pipeline.store import Store

pytestmark = pytest.mark.matrix


class Outcome:
    def __init__(self, code: object, out: str, err: str) -> None:
        self.code, self.out, self.err = code, out, err


def vstats(capsys: pytest.CaptureFixture[str], *arguments: object) -> Outcome:
    with pytest.raises(SystemExit) as stop:
        main([str(a) for a in arguments])
    captured = capsys.readouterr()
    return Outcome(stop.value.code, captured.out, captured.err)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("videos")
    videos.write_video(root / "a square.mkv", videos.moving_square("right", 13, 17))
    videos.write_video(root / "still.mkv", videos.still(17))
    return root


@pytest.fixture(scope="module")
def store(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("stores") / "a.vstats"
    with pytest.raises(SystemExit) as stop:
        main(["extract", str(folder), "-o", str(path), "--flow", "dis", "--workers", "0"])
    assert stop.value.code == 0
    return path


def test_extract_reports_and_repeats(capsys: pytest.CaptureFixture[str], folder: Path, store: Path) -> None:
    again = vstats(capsys, "extract", folder, "-o", store, "--flow", "dis", "--workers", 0)
    assert again.code == 0
    assert "2 labelled of 2 planned" in again.out
    assert "complete already" in again.out
    assert Store.open(store).digest in again.out
    report = json.loads(vstats(capsys, "extract", folder, "-o", store, "--flow", "dis", "--json").out)
    assert report["already_complete"]
    assert report["videos"] == {"ok": 2}


def test_a_failed_video_gives_exit_code_1_and_is_named(
    capsys: pytest.CaptureFixture[str], folder: Path, tmp_path: Path
) -> None:
    (tmp_path / "empty.mp4").write_bytes(b"")
    done = vstats(capsys, "extract", folder, tmp_path / "empty.mp4", "-o", tmp_path / "b.vstats", "--flow", "dis",
                  "--workers", 0)  # fmt: skip
    assert done.code == 1
    assert "failed: " in done.err
    assert "empty.mp4: [open] is empty (0 bytes)" in done.err
    assert "Traceback" not in done.err


def test_paths_on_stdin(
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    folder: Path,
    store: Path,
    tmp_path: Path,
) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO("still.mkv\na square.mkv\n"))
    done = vstats(
        capsys, "extract", "-", "--root", folder, "-o", tmp_path / "b.vstats", "--flow", "dis", "--workers", 0
    )
    assert done.code == 0, done.err
    assert Store.open(tmp_path / "b.vstats").digest == Store.open(store).digest


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["extract"], "no INPUT"),
        (["extract", "x"], "no store"),
        (["extract", "nowhere", "-o", "s"], "nowhere"),
        (["extract", "x", "-o", "s", "--clip-step", "2", "--clips-per-video", "2"], "exclude each other"),
        (["extract", "x", "-o", "s", "--crops", "six"], "center, corners, five or random:K"),
        (["extract", "x", "-o", "s", "--frame-size", "big"], "HEIGHTxWIDTH"),
        (["extract", "x", "-o", "s", "--save", "everything"], "clips, flow, statistics"),
        (["extract", "x", "-o", "s", "--workers", "-1"], "-1"),
        (["extract", "x", "--demo"], "neither INPUT nor -o"),
        (["verify", "x", "--recompute", "many"], "percentage"),
        (["nonsense"], "nonsense"),
    ],
)
def test_wrong_use_is_exit_code_2_and_said(
    capsys: pytest.CaptureFixture[str], arguments: list[str], words: str
) -> None:
    done = vstats(capsys, *arguments)
    assert done.code == 2
    assert words in done.err
    assert done.out == ""
    assert "Traceback" not in done.err


def test_no_store_and_an_unfinished_one_are_exit_code_4(
    capsys: pytest.CaptureFixture[str], store: Path, tmp_path: Path
) -> None:
    for command in ("inspect", "labels", "verify", "digest"):
        done = vstats(capsys, command, tmp_path / "nowhere")
        assert (done.code, done.out) == (4, "")
        assert "is not there" in done.err
    unfinished = tmp_path / "b.vstats"
    unfinished.mkdir()
    (unfinished / "plan.json").write_bytes((store / "plan.json").read_bytes())
    done = vstats(capsys, "digest", unfinished)
    assert done.code == 4
    assert "has not finished" in done.err


def test_labels_in_every_form_say_the_same(
    capsys: pytest.CaptureFixture[str], store: Path, tmp_path: Path
) -> None:
    as_csv = list(csv.DictReader(io.StringIO(vstats(capsys, "labels", store).out)))
    as_jsonl = [
        json.loads(line) for line in vstats(capsys, "labels", store, "--format", "jsonl").out.splitlines()
    ]
    done = vstats(capsys, "labels", store, "-o", tmp_path / "labels.parquet")
    assert done.code == 0
    as_parquet = pq.read_table(tmp_path / "labels.parquet").to_pylist()
    assert as_jsonl == as_parquet
    assert as_csv == [{name: str(value) for name, value in row.items()} for row in as_jsonl]
    assert [row["key"] for row in as_jsonl] == ["a square.mkv", "still.mkv"]
    opened = Store.open(store)
    assert [row["motion_pattern_1_u_loc"] for row in as_jsonl] == opened.read("labels/motion/pattern_1")[
        :, 0
    ].tolist()
    assert sum(1 for name in as_jsonl[0] if name.startswith(("motion_", "appearance_"))) == 27
    assert list(tmp_path.iterdir()) == [tmp_path / "labels.parquet"]


def test_inspect_shows_what_a_person_asks(capsys: pytest.CaptureFixture[str], store: Path) -> None:
    text = vstats(capsys, "inspect", store).out
    for word in (
        "complete",
        "digest",
        "flow dis",
        "numba",
        "libavcodec",
        "motion_pattern_1_u_loc",
        "ok 2",
        "no motion",
    ):
        assert word in text
    facts = json.loads(vstats(capsys, "inspect", store, "--json").out)
    assert facts["complete"]
    assert sum(facts["histograms"]["appearance_global_dominant_col"].values()) == 2


def test_verify_and_digest(capsys: pytest.CaptureFixture[str], store: Path) -> None:
    done = vstats(capsys, "verify", store, "--recompute", "50%")
    assert done.code == 0
    assert "1 rows of 1 videos, bit for bit" in done.out
    digest = Store.open(store).digest
    assert vstats(capsys, "digest", store).out == digest + "\n"
    arrays = vstats(capsys, "digest", store, "--arrays").out.splitlines()
    assert arrays[-1] == digest
    assert any(line.endswith("  labels/motion/pattern_1") for line in arrays)


def test_diff_of_two_profiles_gives_rates_per_label(
    capsys: pytest.CaptureFixture[str], folder: Path, store: Path, tmp_path: Path
) -> None:
    other = tmp_path / "released.vstats"
    done = vstats(
        capsys, "extract", folder, "-o", other, "--flow", "dis", "--profile", "mas-released", "--workers", 0
    )
    assert done.code == 1  # the still video has no label in this profile
    assert "refus" in done.err or "motion" in done.err
    report = vstats(capsys, "diff", store, other)
    assert report.code == 3
    assert "profile: 'sts' -> 'mas-released'" in report.out
    assert "labels differ" in report.out
    facts = json.loads(vstats(capsys, "diff", store, other, "--json").out)
    assert facts["one_sided"] == 1
    assert len(facts["columns"]) == 14
    assert len(facts["columns_only_a"]) == 13
    same = vstats(capsys, "diff", store, store)
    assert same.code == 0
    assert "0 of 54 labels differ" in same.out


def test_dry_run(capsys: pytest.CaptureFixture[str], folder: Path, tmp_path: Path) -> None:
    done = vstats(capsys, "extract", folder, "-o", tmp_path / "b.vstats", "--crops", "five", "--dry-run",
                  "--workers", 0)  # fmt: skip
    assert done.code == 0
    assert "rows         10" in done.out
    assert "shards       2 of 8 rows" in done.out
    estimate = next(line for line in done.out.splitlines() if line.startswith("estimate"))
    assert "from 2 of 2 videos" in estimate
    assert estimate.split(maxsplit=1)[1] in done.err.splitlines()[0]
    assert not (tmp_path / "b.vstats").exists()


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert "0.1.0" in vstats(capsys, "--version").out
