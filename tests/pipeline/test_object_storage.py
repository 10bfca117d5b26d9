"""Stores on object storage: an S3 server on this machine, from the first request to the last."""

import json
import os
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests import s3, videos
from vstats.cli.main import main
from vstats.pipeline.config import ExtractConfig, RunConfig
from vstats.pipeline.errors import NotAStore, NotCommitted, UsageError
from vstats.pipeline.extract import ExtractReport, extract
from vstats.pipeline.place import Place, each, open_place
from vstats.pipeline.store import Store
from vstats.pipeline.verify import verify

pytestmark = pytest.mark.long

CONFIG = ExtractConfig(flow="dis", clips_per_video=3, flip="both")
SHARD = 4
OPTIONS = ["--flow", "dis", "--clips-per-video", "3", "--flip", "both", "--shard-size", str(SHARD)]


def run(source: Path, store: str | Path, **options: Any) -> ExtractReport:
    return extract([str(source)], store, CONFIG, RunConfig(**{"workers": 0, "shard_size": SHARD} | options))


def command(*arguments: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-m", "vstats.cli", *arguments], capture_output=True, text=True, check=False
    )


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve rows in three shards, and a file that is no video."""
    root = tmp_path_factory.mktemp("videos")
    videos.write_video(root / "right.mkv", videos.moving_square("right", 13, 20, size=8))
    videos.write_video(root / "turning.mkv", videos.rotating(18))
    (root / "text.mp4").write_text("not a video\n")
    return root


@pytest.fixture(scope="module")
def local(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    store = tmp_path_factory.mktemp("stores") / "local.vstats"
    run(folder, store)
    return store


@pytest.fixture(scope="module")
def finished(folder: Path, s3_server: str) -> Iterator[str]:
    """A store that was extracted to S3; tests read it, and change copies of it."""
    url = f"s3://{s3.BUCKET}/finished.vstats"
    with pytest.MonkeyPatch.context() as environment:
        s3.reach(s3_server, environment)
        assert run(folder, url).store == url
        yield url


def copy(source: str, target: str) -> Place:
    there, here = open_place(source), open_place(target)
    list(each(there, lambda name: here.write(name, there.read(name)), list(there.sizes())))
    return here


def contents(where: str | Path) -> dict[str, str]:
    place = open_place(where)
    return dict(each(place, lambda name: (name, place.sha256(name)), list(place.sizes())))


def arrays_of(where: str | Path) -> dict[str, str]:
    return {name: sha256 for name, sha256 in contents(where).items() if name.startswith("labels.zarr/")}


def test_a_store_on_s3_holds_the_same_arrays_byte_for_byte(local: Path, finished: str) -> None:
    assert Store.open(finished).digest == Store.open(local).digest
    assert arrays_of(finished) == arrays_of(local)
    assert contents(finished).keys() == contents(local).keys()
    assert verify(finished, recompute_percent=100).findings == ()


@pytest.mark.soak  # a killed run has a worker that writes to it too
def test_workers_write_to_s3(folder: Path, local: Path, s3_url: str) -> None:
    assert run(folder, s3_url, workers=2).digest == Store.open(local).digest
    assert arrays_of(s3_url) == arrays_of(local)


def test_a_second_run_on_s3_writes_nothing(folder: Path, finished: str) -> None:
    before = contents(finished)
    assert run(folder, finished).already_complete
    assert contents(finished) == before


def test_every_command_reads_a_store_on_s3(
    local: Path, finished: str, capsysbinary: pytest.CaptureFixture[bytes]
) -> None:
    def say(*arguments: str) -> str:
        with pytest.raises(SystemExit) as ended:
            main(list(arguments))
        assert ended.value.code == 0
        return capsysbinary.readouterr().out.decode()

    assert say("digest", finished).strip() == Store.open(local).digest
    assert "total    0 of" in say("diff", finished, str(local))
    assert say("labels", finished) == say("labels", str(local))
    assert finished in say("inspect", finished)


def test_a_store_in_memory_serves_one_process(folder: Path, local: Path) -> None:
    url = f"memory://{uuid.uuid4().hex}"
    with pytest.raises(UsageError, match="--workers 0"):
        run(folder, url, workers=2)
    assert run(folder, url).digest == Store.open(local).digest
    assert arrays_of(url) == arrays_of(local)
    with pytest.raises(UsageError, match="copy it to one first"):
        _ = Store.open(url).path


def test_a_killed_run_on_s3_goes_on_and_ends_with_the_same_digest(
    folder: Path, local: Path, s3_url: str
) -> None:
    place = open_place(s3_url)
    process = subprocess.Popen(
        [sys.executable, "-m", "vstats.cli", "extract", str(folder), "-o", s3_url, "--workers", "1", *OPTIONS],
        stderr=subprocess.PIPE, start_new_session=True,
    )  # fmt: skip
    deadline = time.monotonic() + 60
    while not place.sizes("ledger") and time.monotonic() < deadline and process.poll() is None:
        time.sleep(0.01)
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    with pytest.raises(NotCommitted):
        Store.open(s3_url)
    report = run(folder, s3_url)
    assert report.computed_rows < report.rows
    assert report.digest == Store.open(local).digest
    assert verify(s3_url).findings == ()


@pytest.mark.parametrize(
    ("lost", "computed"),
    [
        (["COMMIT.json", "manifest-sha256.txt", "ledger/000001.json", "ledger/000002.json"], 8),
        (["COMMIT.json", "labels.zarr/labels/motion/pattern_1/c.2.0"], 4),
        (["COMMIT.json", "plan.json"], 12),  # as a kill while starting anew leaves it: nothing counts
    ],
)
def test_a_run_on_s3_goes_on_from_every_stage(
    folder: Path, finished: str, s3_url: str, lost: list[str], computed: int
) -> None:
    place = copy(finished, s3_url)
    for name in lost:
        place.delete(name)
    report = run(folder, s3_url)
    assert (report.computed_rows, report.digest) == (computed, Store.open(finished).digest)
    assert verify(s3_url).findings == ()


def test_a_flipped_byte_in_an_object_is_found_and_mended(folder: Path, finished: str, s3_url: str) -> None:
    place = copy(finished, s3_url)
    name = "labels.zarr/labels/motion/pattern_1/c.1.0"
    content = place.read(name)
    place.write(name, content[:-3] + bytes([content[-3] ^ 4]) + content[-2:])
    place.write("labels.zarr/stray", b"?")
    done = command("verify", s3_url, "--json")
    assert done.returncode == 3
    assert {f["where"]: f["message"] for f in json.loads(done.stdout)["findings"]} == {
        name: "is damaged: its bytes are not those that were written",
        "labels.zarr/stray": "does not belong to the store",
    }
    place.delete("labels.zarr/stray")
    place.delete("COMMIT.json")
    report = run(folder, s3_url)
    assert (report.computed_rows, report.digest) == (SHARD, Store.open(finished).digest)
    assert verify(s3_url).findings == ()


def test_overwrite_removes_this_store_and_nothing_else(folder: Path, finished: str, s3_url: str) -> None:
    copy(finished, s3_url)
    neighbour = open_place(s3_url.replace("a.vstats", "a.vstats.old"))
    neighbour.write("plan.json", b"kept")
    report = extract([str(folder)], s3_url, ExtractConfig(flow="dis"), RunConfig(workers=0, overwrite=True))
    assert report.rows == 2
    assert verify(s3_url).findings == ()
    assert neighbour.read("plan.json") == b"kept"


def test_a_prefix_of_something_else_is_left_alone(folder: Path, s3_url: str) -> None:
    place = open_place(s3_url)
    place.write("thesis.tex", b"years of work")
    with pytest.raises(UsageError, match=r"not a vstats store and not empty \(it holds thesis\.tex\)"):
        run(folder, s3_url)
    assert place.sizes() == {"thesis.tex": 13}


def test_opening_what_is_no_store_says_so(s3_url: str) -> None:
    with pytest.raises(NotAStore, match="is not there"):
        Store.open(s3_url)
    open_place(s3_url).write("thesis.tex", b"")
    with pytest.raises(NotAStore, match=r"holds no plan\.json"):
        Store.open(s3_url)


def test_a_server_that_is_not_there_ends_with_4_in_seconds(
    folder: Path, s3_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
    began = time.monotonic()
    done = command("extract", str(folder), "-o", s3_url)
    assert time.monotonic() - began < 20
    assert done.returncode == 4
    assert "the server http://127.0.0.1:1 cannot be reached" in done.stderr
    assert "AWS_ENDPOINT_URL" in done.stderr
    assert "Traceback" not in done.stderr


def test_denied_access_ends_with_4_and_what_to_check(folder: Path, s3_url: str, s3_server: str) -> None:
    with s3.refusing(s3_server, after=0):
        done = command("extract", str(folder), "-o", s3_url)
    assert done.returncode == 4
    assert "access denied" in done.stderr
    assert "Check AWS_ACCESS_KEY_ID" in done.stderr
    assert "Traceback" not in done.stderr


def test_access_that_is_lost_on_the_way_is_said_so_and_the_next_run_goes_on(
    folder: Path, finished: str, s3_url: str, s3_server: str
) -> None:
    place = copy(finished, s3_url)
    place.delete("COMMIT.json")
    place.delete("ledger/000002.json")
    with s3.refusing(s3_server, after=60):
        done = command("extract", str(folder), "-o", s3_url, "--workers", "0", *OPTIONS)
    assert done.returncode == 4, done.stderr
    assert "access denied" in done.stderr
    assert not place.exists("COMMIT.json")
    assert run(folder, s3_url).digest == Store.open(finished).digest
