"""What is exported comes back: the same digest from every form, and flow to the last bit or within the stated step."""

import io
import json
import tarfile
from pathlib import Path
from typing import Any

import cv2
import h5py
import numpy as np
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner

from tests.training import make_store, make_videos
from vstats.cli.export import command as export_command
from vstats.cli.import_ import command as import_command
from vstats.kernels.errors import InputError
from vstats.pipeline.errors import NotCommitted, StoreError, UsageError
from vstats.pipeline.exchange import export_flow, export_labels, form_of, import_flow, import_labels
from vstats.pipeline.exchange import flow as flow_files
from vstats.pipeline.exchange.convert import read_flows
from vstats.pipeline.exchange.hdf5 import write_flows
from vstats.pipeline.store import Store
from vstats.pipeline.table import label_blocks
from vstats.pipeline.verify import verify

pytestmark = [pytest.mark.long, pytest.mark.matrix]

NAMES = {"hdf5": "out.h5", "parquet": "out.parquet", "webdataset": "out"}


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    """A store with a failed video, a short one, and everything that can be saved."""
    folder = make_videos(tmp_path_factory.mktemp("videos"))
    (folder / "moving" / "text.mp4").write_text("not a video\n")
    with (folder / "list.txt").open("a") as listed:
        listed.write("moving/text.mp4 0\n")
    return make_store(folder, tmp_path_factory.mktemp("stores") / "a.vstats", clips_per_video=1)


# ---------------------------------------------------------------------------------------------------------- labels


@pytest.mark.parametrize("form", ["hdf5", "webdataset"])
def test_a_whole_store_comes_back_with_its_digest(store: Store, tmp_path: Path, form: str) -> None:
    out = tmp_path / NAMES[form]
    done = export_labels(store.path, out, form)
    assert done.count == store.rows
    assert form_of(out) == form
    back = import_labels(out, tmp_path / "b.vstats", form)
    assert back.digest == store.digest
    again = Store.open(tmp_path / "b.vstats")
    assert verify(again.path).findings == ()
    assert again.plan.config == store.plan.config
    assert list(again.videos) == list(store.videos)
    assert again.failures() == store.failures()
    assert (again.read("clips") == store.read("clips")).all()


@pytest.mark.parametrize("form", NAMES)
@pytest.mark.parametrize("save", [(), ("statistics",)])
def test_labels_come_back_from_every_form(
    store: Store, tmp_path: Path, form: str, save: tuple[str, ...]
) -> None:
    out = tmp_path / NAMES[form]
    export_labels(store.path, out, form, save=save)
    import_labels(out, tmp_path / "b.vstats", form)
    back = Store.open(tmp_path / "b.vstats")
    assert verify(back.path).findings == ()
    assert back.plan.config.save == save
    assert store.committed is not None
    assert back.committed is not None
    assert back.committed["roots"].items() <= store.committed["roots"].items()
    wanted = {name for name in store.names() if name.split("/")[0] in {"index", "labels", *save}}
    assert wanted <= set(back.names())


def test_parquet_reads_as_a_table(store: Store, tmp_path: Path) -> None:
    export_labels(store.path, tmp_path / "out.parquet", "parquet")
    table = pq.read_table(tmp_path / "out.parquet").to_pydict()
    (block,) = label_blocks(store)
    for name in ("key", "motion_pattern_1_u_loc", "appearance_global_dominant_col"):
        assert table[name] == block[name].tolist()
    stored = store.read("statistics/motion/pattern_1/u_orientation")
    assert (
        np.array(table["statistics/motion/pattern_1/u_orientation"]).tolist()
        == stored.reshape(len(stored), -1).tolist()
    )


def test_hdf5_reads_as_arrays(store: Store, tmp_path: Path) -> None:
    export_labels(store.path, tmp_path / "out.h5", "hdf5")
    with h5py.File(tmp_path / "out.h5") as file:
        assert file["clips"].chunks == (1, 16, 112, 112, 3)
        assert (file["labels/motion/global"][:] == store.read("labels/motion/global")).all()
        assert [key.decode() for key in file["videos/key"][:]] == list(store.keys())


def test_webdataset_reads_as_samples(store: Store, tmp_path: Path) -> None:
    export_labels(store.path, tmp_path / "out", "webdataset")
    seen = 0
    for path in sorted((tmp_path / "out").glob("labelled-*.tar")):
        with tarfile.open(path) as tar:
            samples: dict[str, dict[str, Any]] = {}
            for member in tar:
                name, _, kind = member.name.partition(".")
                file = tar.extractfile(member)
                assert file is not None
                samples.setdefault(name, {})[kind] = file.read()
        for sample in samples.values():
            record = json.loads(sample["json"])
            row = record["row"]
            assert row == seen
            assert (np.load(io.BytesIO(sample["clips.npy"])) == store.read("clips", row, row + 1)[0]).all()
            assert list(record["labels"]["motion/global"]) == ["u_frame", "v_frame"]
            assert record["key"] == store.keys()[store.read("index/video")[row]]
            seen += 1
    assert seen == store.rows
    export_labels(store.path, tmp_path / "twin", "webdataset")
    (
        tmp_path / "twin" / "vstats.json"
    ).unlink()  # as if it had been killed: the same command again finishes it
    (tmp_path / "twin" / "labelled-000001.tar").rename(tmp_path / "twin" / "labelled-000001.partial")
    export_labels(store.path, tmp_path / "twin", "webdataset")
    assert len(list((tmp_path / "twin").iterdir())) == len(list((tmp_path / "out").iterdir()))
    for path in (tmp_path / "out").iterdir():
        assert path.read_bytes() == (tmp_path / "twin" / path.name).read_bytes()


def test_rows_without_labels_come_back_too(tmp_path: Path) -> None:
    # mas-released has no labels for a still video: those rows are refused.
    from tests import videos

    (tmp_path / "videos").mkdir()
    videos.write_video(tmp_path / "videos" / "still.mkv", videos.still(17))
    videos.write_video(tmp_path / "videos" / "turning.mkv", videos.rotating(17))
    lines = "still.mkv 0\nturning.mkv 1\n"
    (tmp_path / "videos" / "list.txt").write_text(lines)
    (tmp_path / "videos" / "classes.txt").write_text("still\nturning\n")
    refused = make_store(
        tmp_path / "videos", tmp_path / "a.vstats", profile="mas-released", clips_per_video=1
    )
    assert set(refused.read("index/status").tolist()) == {0, 2}
    for form in ("hdf5", "webdataset"):
        export_labels(refused.path, tmp_path / NAMES[form], form)
        back = import_labels(tmp_path / NAMES[form], tmp_path / f"{form}.vstats", form)
        assert back.digest == refused.digest
        assert Store.open(tmp_path / f"{form}.vstats").failures() == refused.failures()
    assert list((tmp_path / "out").glob("unlabelled-*.tar"))


def test_what_cannot_be_exported_is_said(store: Store, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="this form carries no clips; it carries statistics"):
        export_labels(store.path, tmp_path / "out.parquet", "parquet", save=["clips"])
    with pytest.raises(UsageError, match="'xml' is no form of labels"):
        export_labels(store.path, tmp_path / "out", "xml")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "file").touch()
    with pytest.raises(UsageError, match="is not empty; choose another"):
        export_labels(store.path, tmp_path / "full", "webdataset")
    export_labels(store.path, tmp_path / "out.h5", "hdf5", save=())
    assert not list(tmp_path.glob(".*partial"))
    with pytest.raises(UsageError, match="is there already and not empty"):
        import_labels(tmp_path / "out.h5", tmp_path / "full", "hdf5")


@pytest.mark.parametrize("form", NAMES)
def test_files_of_other_origin_are_refused(tmp_path: Path, form: str) -> None:
    source = tmp_path / NAMES[form]
    source.mkdir() if form == "webdataset" else source.write_bytes(b"something else")
    with pytest.raises(UsageError, match=r"cannot be read|was not written by vstats export"):
        import_labels(source, tmp_path / "b.vstats", form)
    assert not (tmp_path / "b.vstats").exists()


def test_changed_values_are_found(store: Store, tmp_path: Path) -> None:
    export_labels(store.path, tmp_path / "out.h5", "hdf5", save=())
    with h5py.File(tmp_path / "out.h5", "r+") as file:
        file["labels/motion/pattern_1"][3, 0] = 9
    with pytest.raises(
        StoreError, match="the values of labels/motion/pattern_1 are not those that were exported"
    ):
        import_labels(tmp_path / "out.h5", tmp_path / "b.vstats", "hdf5")
    with pytest.raises(NotCommitted):
        Store.open(tmp_path / "b.vstats")


def test_a_missing_tar_is_found(store: Store, tmp_path: Path) -> None:
    export_labels(store.path, tmp_path / "out", "webdataset", save=())
    (tmp_path / "out" / "labelled-000001.tar").unlink()
    with pytest.raises(UsageError, match="row 16 is in no tar of shard 1"):
        import_labels(tmp_path / "out", tmp_path / "b.vstats", "webdataset")


# ------------------------------------------------------------------------------------------------------------ flow


def smooth_flow(bound: float = 20.0) -> Any:
    noise = np.random.Generator(np.random.PCG64(0)).normal(0, bound, (5, 112, 112, 2)).astype(np.float32)
    return np.stack([cv2.GaussianBlur(field, (0, 0), 6) * 4 for field in noise])


def test_eight_bits_are_denseflow_s() -> None:
    # Values of denseflow's own CAST macro, by hand: 255 * (v - low) / (high - low), rounded.
    values = np.array([-25.0, -20.0, -0.04, 0.0, 0.04, 0.1, 19.95, 20.0, 99.0])
    assert flow_files.to_8_bits(values, 20).tolist() == [0, 0, 127, 128, 128, 128, 255, 255, 255]
    flow = smooth_flow()
    back = flow_files.from_8_bits(flow_files.to_8_bits(flow, 20), 20)
    assert np.abs(back - np.clip(flow, -20, 20)).max() <= 20 / 255 + 1e-6
    assert (
        flow_files.to_8_bits(back, 20) == flow_files.to_8_bits(flow, 20)
    ).all()  # what is lost is lost once
    with pytest.raises(InputError, match="bound is 0"):
        flow_files.to_8_bits(flow, 0)


def test_denseflow_folders_lose_no_more_than_said(tmp_path: Path) -> None:
    flow = np.clip(smooth_flow(), -20, 20)
    flow_files.write_denseflow(flow, tmp_path / "a", 20)
    assert sorted(p.name for p in (tmp_path / "a").iterdir())[:2] == ["flow_x_00000.jpg", "flow_x_00001.jpg"]
    assert len(list((tmp_path / "a").iterdir())) == 10
    back = flow_files.read_denseflow(tmp_path / "a", 20)
    assert back.shape == flow.shape
    error = np.abs(back - flow)
    assert error.mean() < 20 / 255
    assert np.quantile(error, 0.999) < 3 * 40 / 255
    (tmp_path / "a" / "flow_y_00003.jpg").unlink()
    with pytest.raises(UsageError, match=r"flow_y_00003\.jpg is missing"):
        flow_files.read_denseflow(tmp_path / "a", 20)
    (tmp_path / "a" / "flow_y_00003.jpg").write_bytes(b"")
    with pytest.raises(UsageError, match="is no picture"):
        flow_files.read_denseflow(tmp_path / "a", 20)


def test_flo_files_lose_nothing(tmp_path: Path) -> None:
    flow = smooth_flow()
    flow_files.write_flo(flow, tmp_path / "a")
    assert (flow_files.read_flo_folder(tmp_path / "a") == flow).all()
    first = tmp_path / "a" / "flow_00000.flo"
    assert first.read_bytes()[:4] == b"PIEH"
    assert (cv2.readOpticalFlow(str(first)) == flow[0]).all()
    first.write_bytes(first.read_bytes()[:-1])
    with pytest.raises(UsageError, match=r"is no \.flo file, or is cut short"):
        flow_files.read_flo(first)


@pytest.mark.parametrize("form", ["denseflow", "flo", "flow-hdf5"])
def test_stored_flow_goes_out_and_comes_back(store: Store, tmp_path: Path, form: str) -> None:
    out = tmp_path / ("out.h5" if form == "flow-hdf5" else "out")
    assert export_flow(store.path, out, form).count == store.rows
    assert form_of(out) == form
    stored, keys, owners = store.read("flow"), store.keys(), store.read("index/video")
    read = dict(read_flows(out, form))
    assert set(read) == {f"{keys[owners[row]]}/{row:09d}" for row in range(store.rows)}
    for name, flow in read.items():
        original = stored[int(name[-9:])].astype(np.float32)
        if form == "denseflow":
            assert np.abs(flow - np.clip(original, -20, 20)).mean() < 20 / 255
        else:
            assert (flow == original).all()
    to = "flo" if form == "flow-hdf5" else "flow-hdf5"
    again = tmp_path / ("again" if to == "flo" else "again.h5")
    assert import_flow(out, again, form, to).count == store.rows
    twice = dict(read_flows(again, to))
    assert all((twice[name] == flow).all() for name, flow in read.items())


def test_flow_of_other_origin(store: Store, tmp_path: Path) -> None:
    write_flows([("clip", np.zeros((3, 4, 5, 3), np.float32))], tmp_path / "a.h5")
    with pytest.raises(UsageError, match=r"clip is float32 \[3, 4, 5, 3\]; flow is float \[F, H, W, 2\]"):
        dict(read_flows(tmp_path / "a.h5", "flow-hdf5"))
    (tmp_path / "empty").mkdir()
    with pytest.raises(UsageError, match="holds no flow in the form denseflow"):
        import_flow(tmp_path / "empty", tmp_path / "b.h5", "denseflow")
    for unknown in (tmp_path / "empty", store.path, store.path / "plan.json"):
        with pytest.raises(UsageError, match="is of no form that is known"):
            form_of(unknown)
    with pytest.raises(UsageError, match="cannot be read: No such file"):
        form_of(tmp_path / "nothing.h5")
    bare = tmp_path / "bare.vstats"
    export_labels(store.path, tmp_path / "out.h5", "hdf5", save=())
    import_labels(tmp_path / "out.h5", bare, "hdf5")
    with pytest.raises(UsageError, match="keeps no flow; extract with --save flow"):
        export_flow(bare, tmp_path / "flow", "flo")


# ----------------------------------------------------------------------------------------------------- command line


def test_commands(store: Store, tmp_path: Path) -> None:
    def run(command: Any, *arguments: object) -> str:
        done = CliRunner().invoke(command, [str(a) for a in arguments], catch_exceptions=False)
        assert done.exit_code == 0, done.output
        return done.output

    out = tmp_path / "out.h5"
    assert f"{store.rows} rows written to {out}" in run(
        export_command, store.path, "-o", out, "--format", "hdf5"
    )
    out = out.rename(tmp_path / "renamed")  # files are known by what they hold
    assert f"digest  {store.digest}" in run(import_command, out, "-o", tmp_path / "b.vstats")
    text = run(
        export_command, store.path, "-o", tmp_path / "labels", "--format", "webdataset", "--save", "labels"
    )
    assert "rows written" in text
    with tarfile.open(tmp_path / "labels" / "labelled-000000.tar") as tar:
        assert {name.partition(".")[2] for name in tar.getnames()} == {"json"}
    run(export_command, store.path, "-o", tmp_path / "flow", "--format", "denseflow", "--bound", "10")
    text = run(import_command, tmp_path / "flow", "-o", tmp_path / "flow.h5", "--bound", "10")
    assert f"flow of {store.rows} clips written" in text
