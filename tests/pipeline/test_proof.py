"""A run begins only where every stage gives the known bits; where it goes on all the same, the store says so for ever."""

import configparser
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from av.video.reformatter import Interpolation

from tests import videos
from vstats.cli.main import main
from vstats.kernels import ops, standard
from vstats.pipeline import decode, proof
from vstats.pipeline.config import DecodeLimits, ExtractConfig, RunConfig
from vstats.pipeline.device import Terms, terms_of
from vstats.pipeline.diff import diff
from vstats.pipeline.errors import Unproven
from vstats.pipeline.exchange.convert import export_labels, import_labels
from vstats.pipeline.execute import open_executor
from vstats.pipeline.extract import extract
from vstats.pipeline.merge import merge
from vstats.pipeline.report import inspect
from vstats.pipeline.retry import retry_failed
from vstats.pipeline.store import COMMIT, Store, receipt_name
from vstats.pipeline.verify import verify

IN_VSTATS = "import sys\nif any('vstats' in word for word in sys.orig_argv) or 'dask' in sys.orig_argv:\n"

NUMPY = """
    import numpy
    taken = numpy.take
    def take(*arguments, **options):
        found = taken(*arguments, **options)
        if found.dtype == numpy.float32:
            found[...] = found.astype(numpy.float16)
        return found
    numpy.take = take
"""
OPENCV = """
    import cv2
    exact = cv2.calcOpticalFlowFarneback
    cv2.calcOpticalFlowFarneback = lambda *arguments: exact(*arguments).round(3)
"""
TRANSFORM = """
    from vstats.pipeline import decode
    decode._is_xvid = lambda *_: True
"""
SMALL = ["--clip-length", "4", "--frame-size", "32x40", "--crop-size", "32", "--shard-size", "8"]
CONFIG = ExtractConfig(clip_length=4, working_height=32, working_width=40, crop_size=32)
SERIAL = RunConfig(device="cpu", workers=0, shard_size=8)

Site = Callable[[str], dict[str, str]]


@pytest.fixture
def site(tmp_path: Path) -> Site:
    """Return what makes an environment in which a patch is at work in every process of vstats."""

    def make(patch: str) -> dict[str, str]:
        folder = tmp_path / "site"
        folder.mkdir(exist_ok=True)
        (folder / "sitecustomize.py").write_text(IN_VSTATS + patch)
        return {**os.environ, "PYTHONPATH": str(folder)}

    return make


def patched(*words: object, environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "vstats.cli", *map(str, words)]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


def vstats(*words: object) -> object:
    with pytest.raises(SystemExit) as stop:
        main([str(word) for word in words])
    return stop.value.code


@pytest.fixture
def forgetful(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[], None]]:
    """Return what makes this process prove its bits anew, with nothing remembered of others."""
    monkeypatch.setenv("VSTATS_CACHE_DIR", str(tmp_path / "cache"))

    def forget() -> None:
        proof.proven.cache_clear()
        proof.arithmetic.cache_clear()
        shutil.rmtree(tmp_path / "cache", ignore_errors=True)

    forget()
    yield forget
    forget()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two folders of one video each."""
    root = tmp_path_factory.mktemp("videos")
    for name in ("a", "b"):
        (root / name).mkdir()
        videos.write_video(root / name / f"{name}.mkv", videos.rotating(8))
    return root


def test_this_process_is_proven() -> None:
    for limits in (None, DecodeLimits()):
        found = proof.prove("cpu", limits)
        assert [stage.name for stage in found.stages] == ["decode", "colour", "resize", "flow", "labels"]
        assert (found.ok, found.unproven, found.opencv_flow) == (True, "", "")
        found.check()
    assert len({digest for stage in found.stages for digest in stage.digests.values()}) == 13


def test_what_is_known_ships_with_the_package() -> None:
    setup = configparser.ConfigParser()
    setup.read(Path(__file__).parents[2] / "setup.cfg")
    assert "known/*" in setup["options.package_data"]["vstats.pipeline"]
    assert sum(path.stat().st_size for path in proof.FOLDER.iterdir()) < 12_000
    facts = [decode.probe_video(str(proof.FOLDER / file)) for file in proof.CLIPS.values()]
    assert [(fact.codec, fact.frames) for fact in facts] == [("ffv1", 4), ("mpeg4", 4), ("h264", 4)]


def test_the_first_stage_that_differs_is_named(
    forgetful: Callable[[], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    def check(words: str) -> None:
        forgetful()
        with pytest.raises(Unproven, match=words):
            proof.prove().check()

    with monkeypatch.context() as patch:
        patch.setattr(decode, "_is_xvid", lambda *_: True)  # another inverse transform
        check(
            r"decode: libavcodec [\d.]+ \(PyAV [\d.]+\) gives other pixels on known clips than it must \(MPEG-4\)"
        )
    with monkeypatch.context() as patch:
        patch.setattr(decode, "_CONVERSION", Interpolation.FAST_BILINEAR)
        check(r"colour: libswscale [\d.]+ \(PyAV [\d.]+\) gives other colours .* \(MPEG-4, H\.264\)")
    with monkeypatch.context() as patch:
        area = ops.resize_area
        patch.setattr(ops, "resize_area", lambda *arguments: area(*arguments) & 254)
        check(r"resize: vstats [\d.]+ with NumPy [\d.]+ and Numba [\d.]+ gives other frames .* \(by area\)")
    with monkeypatch.context() as patch:
        patch.setattr(standard, "PIXEL", np.float32(1 / 65535))
        check(r"labels: vstats .* gives other labels .* \(sts, sts-released\)")
    forgetful()
    proof.prove().check()


def test_a_clip_that_does_not_decode_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: str) -> str:
        raise decode.DecodeError(f"{path}: this FFmpeg has no decoder", stage="open")

    monkeypatch.setattr(decode, "planes_sha256", refuse)
    with pytest.raises(
        Unproven, match=r"decode: libavcodec .* \(FFV1: this FFmpeg has no decoder, MPEG-4: this"
    ):
        proof.prove().check()


# ---------------------------------------------------------------------------------------------------- memory


@pytest.fixture
def kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[], bool]:
    """Return what tells whether a process like this one finds the proof remembered, in a cache folder of its own."""
    monkeypatch.setenv("VSTATS_CACHE_DIR", str(tmp_path / "cache"))

    def remembered() -> bool:
        found = proof.proven.__wrapped__()
        assert found.ok
        return bool(found.remembered)

    return remembered


def test_a_proof_is_remembered(
    kept: Callable[[], bool], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert [kept(), kept()] == [False, True]
    (file,) = (tmp_path / "cache").iterdir()
    content = file.read_bytes()
    for broken in (b"", content[:100], content.replace(b"4", b"5"), b"{}"):
        file.write_bytes(broken)
        assert [kept(), kept()] == [False, True]
    assert file.read_bytes() == content
    assert proof.proven.__wrapped__("cpu", None, "dis").remembered is False
    monkeypatch.setenv("NUMBA_CPU_NAME", "another")
    assert kept() is False
    (tmp_path / "cache").chmod(0o777)  # others could have written it
    assert [kept(), kept()] == [False, False]


def test_what_differs_is_not_remembered(
    kept: Callable[[], bool], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(decode, "planes_sha256", lambda path: "0")
    assert not proof.proven.__wrapped__().ok
    assert list((tmp_path / "cache").iterdir()) == []


# ---------------------------------------------------------------------------------------------------- runs


def test_a_run_ends_before_it_begins_or_its_store_says_so(
    folder: Path, site: Site, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    environment = site(NUMPY)
    store = tmp_path / "a.vstats"
    command = ["extract", folder / "a", "-o", store, "--workers", "0", *SMALL]
    done = patched(*command, environment=environment)
    assert done.returncode == 4, done.stderr
    named = r"vstats: flow: vstats [\d.]+ with NumPy [\d.]+ and Numba [\d.]+ gives other flow .* \(40 x 52, 128 x 171\)"
    assert re.search(named, done.stderr), done.stderr
    assert "--unproven" in done.stderr
    assert not list(store.glob("*.*"))

    done = patched(*command, "--unproven", environment=environment)
    assert done.returncode == 0, done.stderr
    assert "not proven, and the store says so for ever: flow: vstats" in done.stderr
    (words,) = Store.open(store).unproven()
    assert words.startswith("flow: vstats")
    assert [inspect(Store.open(store)).unproven, Store.open(store).plan.machine["unproven"]] == [
        (words,),
        words,
    ]
    assert vstats("inspect", store) == 0
    assert f"unproven     {words}\n" in capsys.readouterr().out

    # What is made of it carries it on; what is made beside it does not have it.
    clean = tmp_path / "b.vstats"
    extract([str(folder / "b")], clean, CONFIG, SERIAL)
    assert Store.open(clean).unproven() == ()
    assert "unproven" not in (Store.open(clean).committed or {})
    merge([clean, store], tmp_path / "both.vstats")
    export_labels(tmp_path / "both.vstats", tmp_path / "both.h5", "hdf5")
    import_labels(tmp_path / "both.h5", tmp_path / "again.vstats", "hdf5")
    merge([tmp_path / "again.vstats"], tmp_path / "more.vstats")
    for name in ("both", "again", "more"):
        assert Store.open(tmp_path / f"{name}.vstats").unproven() == (words,), name
        assert Store.open(tmp_path / f"{name}.vstats").plan.machine["unproven"] == words, name
    report = diff(Store.open(tmp_path / "both.vstats"), Store.open(clean))
    assert (report.unproven_a, report.unproven_b) == ((words,), ())
    assert vstats("diff", tmp_path / "both.vstats", clean) == 3
    assert f"unproven A: {words}" in capsys.readouterr().out

    # Labels that a process compares with its own prove nothing where it is not proven.
    assert verify(store).unproven == (words,)
    done = patched("verify", clean, "--recompute", "100", environment=environment)
    assert done.returncode == 4, done.stderr
    assert "vstats: flow: " in done.stderr


def test_a_resumed_run_is_held_to_it_too(
    folder: Path, tmp_path: Path, forgetful: Callable[[], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    store = tmp_path / "a.vstats"
    extract([str(folder / "a")], store, CONFIG, SERIAL)
    (store / COMMIT).unlink()
    (store / receipt_name(0)).unlink()
    with monkeypatch.context() as patch:
        patch.setattr(decode, "_is_xvid", lambda *_: True)
        forgetful()
        with pytest.raises(Unproven, match="decode: "):
            extract([str(folder / "a")], store, CONFIG, SERIAL)
        assert not (store / COMMIT).exists()
        extract([str(folder / "a")], store, CONFIG, replace(SERIAL, unproven=True))
    found = Store.open(store)
    assert "unproven" not in found.plan.machine
    assert found.unproven()[0].startswith("decode: ")
    (store / COMMIT).unlink()  # a proven process finishes it again
    assert Store.open(store, incomplete=True).unproven() == found.unproven()
    forgetful()
    extract([str(folder / "a")], store, CONFIG, SERIAL)
    assert Store.open(store).unproven() == found.unproven()


def test_retrying_carries_it_on(
    folder: Path, tmp_path: Path, forgetful: Callable[[], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    root = tmp_path / "videos"
    root.mkdir()
    videos.write_video(root / "a.mkv", videos.rotating(8))
    (root / "b.mkv").write_bytes(b"nothing")
    store = tmp_path / "a.vstats"
    extract([str(root)], store, CONFIG, SERIAL)
    (root / "b.mkv").write_bytes((folder / "b" / "b.mkv").read_bytes())
    monkeypatch.setattr(decode, "_is_xvid", lambda *_: True)
    forgetful()
    with pytest.raises(Unproven, match="decode: libavcodec"):
        retry_failed(store, run=SERIAL)
    assert Store.open(store).unproven() == ()
    assert retry_failed(store, run=replace(SERIAL, unproven=True)).mended == {"b.mkv": "ok"}
    assert Store.open(store).unproven()[0].startswith("decode: libavcodec")


def test_workers_are_proven_before_any_video_is_touched(folder: Path, site: Site, tmp_path: Path) -> None:
    store = tmp_path / "a.vstats"
    command = ["extract", folder / "a", "-o", store, "--workers", "2", *SMALL]
    done = patched(*command, environment=site(TRANSFORM))
    assert done.returncode == 4, done.stderr
    assert "vstats: decode: libavcodec" in done.stderr
    assert "(found on " in done.stderr
    assert "probing" not in done.stderr
    assert not (store / "plan.json").exists()


@pytest.fixture
def cluster(tmp_path: Path, site: Site) -> Iterator[tuple[str, Callable[[dict[str, str]], None]]]:
    """Return a scheduler's file and what starts a worker in an environment."""
    file = str(tmp_path / "scheduler.json")
    words = ["--scheduler-file", file, "--no-dashboard"]
    processes = []

    def start(*command: str, environment: dict[str, str]) -> None:
        processes.append(
            subprocess.Popen(
                [sys.executable, "-m", "dask", *command, *words],
                env=environment, cwd=tmp_path, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
            )
        )  # fmt: skip

    start("scheduler", "--port", "0", environment=dict(os.environ))
    while not Path(file).exists():
        time.sleep(0.05)
    worker = ["worker", "--nthreads", "1", "--no-nanny", "--death-timeout", "60"]
    yield file, lambda environment: start(*worker, environment=environment)
    for process in reversed(processes):
        process.terminate()
        process.wait()


def test_a_worker_that_comes_late_proves_before_its_first_task(
    cluster: tuple[str, Callable[[dict[str, str]], None]], site: Site
) -> None:
    file, start = cluster
    start(dict(os.environ))
    run = RunConfig(device="cpu", scheduler_file=file)
    with open_executor(run, terms=terms_of(run, "tvl1")) as executor:
        assert [found.ok for found in executor.proofs] == [True]
        assert list(executor.run(time.sleep, [0.0])) == [None]
        start(site(TRANSFORM))
        with pytest.raises(Unproven, match=r"decode: libavcodec .* \(found on "):
            for _ in executor.run(time.sleep, [0.05] * 2000):
                pass
    with pytest.raises(Unproven, match="found on"), open_executor(run, terms=terms_of(run, "tvl1")):
        pass
    terms = terms_of(replace(run, unproven=True), "tvl1")
    with open_executor(run, terms=terms) as executor:
        assert sorted(found.unproven.partition(":")[0] for found in executor.proofs) == ["", "decode"]


def test_opencv_flow_belongs_to_a_kind_of_cpu(
    folder: Path, site: Site, tmp_path: Path, forgetful: Callable[[], None], monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    environment = site(OPENCV)
    del environment["VSTATS_CACHE_DIR"]  # where kernels are compiled already
    source, store, other = [str(folder / "a")], tmp_path / "a.vstats", tmp_path / "b.vstats"
    config = replace(CONFIG, flow="farneback")
    extract(source, store, config, SERIAL)
    known = Store.open(store).plan.opencv_flow
    assert len(known) == 64
    assert inspect(Store.open(store)).opencv_flow == known
    assert vstats("inspect", store) == 0
    said = f"flow         OpenCV's, whose bits depend on the CPU (sha256 on a known clip: {known})"
    assert said in capsys.readouterr().out
    assert verify(store, recompute_percent=100).findings == ()

    done = patched("verify", store, "--recompute", "100", environment=environment)
    assert done.returncode == 4, done.stderr
    assert re.search(r"vstats: flow: OpenCV [\d.]+ gives other flow .* depends on the CPU", done.stderr)

    exact = cv2.calcOpticalFlowFarneback
    monkeypatch.setattr(cv2, "calcOpticalFlowFarneback", lambda *arguments: exact(*arguments).round(3))
    forgetful()
    extract(source, other, config, SERIAL)  # nothing says what it should be
    (store / COMMIT).unlink()
    (store / receipt_name(0)).unlink()
    with pytest.raises(Unproven, match="flow: OpenCV"):
        extract(source, store, config, SERIAL)
    extract(source, store, config, replace(SERIAL, unproven=True))
    assert Store.open(store).unproven()[0].startswith("flow: ")
    assert diff(Store.open(store), Store.open(other)).other_flow
    assert not diff(Store.open(store), Store.open(store)).other_flow


def test_terms_hold_a_process_to_the_opencv_flow_of_its_store() -> None:
    terms = Terms(device="cpu", decode=None, flow="dis")
    mine = terms.prove().opencv_flow
    assert replace(terms, opencv_flow=f"other | {mine}").prove().ok
    other = replace(terms, opencv_flow="other")
    with pytest.raises(Unproven, match=r"flow: OpenCV .* \(dis\) here than where the store was planned"):
        other.prove()
    assert replace(other, unproven=True).prove().unproven.startswith("flow: ")
