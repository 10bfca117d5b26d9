"""The data set gives what the store holds, the same in every process, and says clearly what it cannot give."""

import json
import multiprocessing
import os
import pickle
import shutil
import subprocess
import sys
import time
import uuid
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
import torch
from torch.utils.data import DataLoader, DistributedSampler

from tests.training import make_store, make_videos
from vstats.kernels.errors import InputError
from vstats.pipeline.encodings import targets
from vstats.pipeline.errors import ConfigMismatch, NotAStore, NotCommitted, StoreError, UsageError
from vstats.pipeline.loader import ClipDataset, ClipLoader, Filter, Items, collate, normalise, split_keys
from vstats.pipeline.place import Place, open_place
from vstats.pipeline.shard import row_arrays
from vstats.pipeline.store import ARRAYS, Store
from vstats.pipeline.table import store_columns

pytestmark = pytest.mark.long

FAMILIES = {"motion": 14, "appearance": 13}


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_videos(tmp_path_factory.mktemp("videos"))


@pytest.fixture(scope="module")
def store(source: Path, tmp_path_factory: pytest.TempPathFactory) -> Store:
    return make_store(source, tmp_path_factory.mktemp("stores") / "a.vstats")


@pytest.fixture(scope="module")
def bare(source: Path, tmp_path_factory: pytest.TempPathFactory) -> Store:
    """The same rows, with labels alone."""
    return make_store(source, tmp_path_factory.mktemp("stores") / "bare.vstats", save=())


@pytest.fixture(scope="module")
def dataset(store: Store) -> ClipDataset:
    return ClipDataset(store.path)


def stored_labels(store: Store, family: str) -> Any:
    names = [name for name in store.names() if name.startswith(f"labels/{family}/")]
    return np.concatenate([store.read(name) for name in names], axis=1)


@pytest.mark.parametrize(
    "reads",
    [
        "from vstats.pipeline.loader import ClipDataset; ClipDataset({store!r})[0]",
        "from vstats.cli.main import main; main(['labels', {store!r}, '-o', os.devnull])",
        "from vstats.cli.main import main; main(['digest', {store!r}])",
        "from vstats.cli.main import main; main(['inspect', {store!r}])",
    ],
)
def test_readers_of_a_store_load_neither_decoder_nor_kernels(store: Store, reads: str) -> None:
    engine = "sorted({'av', 'numba', 'cupy', 'dask'} & sys.modules.keys())"
    script = f"import os, sys\ntry: {reads.format(store=str(store.path))}\nfinally: print({engine})"
    command = [sys.executable, "-c", script]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "[]"


# ---------------------------------------------------------------------------------------------------------- items


def test_items_are_the_rows_of_the_store(store: Store, dataset: ClipDataset) -> None:
    clips, owners = store.read("clips"), store.read("index/video")
    assert len(dataset) == store.rows == 3 * 4 * 3 * 2
    for index in (0, 1, 17, 40, len(dataset) - 1, -1):
        item = dataset[index]
        row = int(item["row"])
        assert row == index % len(dataset)
        assert item["frames"].shape == (3, 16, 112, 112)
        assert (item["frames"].numpy() == clips[row].transpose(3, 0, 1, 2)).all()
        for family, count in FAMILIES.items():
            assert item[family].dtype == torch.int64
            assert item[family].tolist() == (stored_labels(store, family)[row].astype(int) - 1).tolist()
            assert item["margins"][family].shape == (count,)
        assert item["key"] == store.keys()[owners[row]]
        assert int(item["label"]) == store.videos[owners[row]].label
    with pytest.raises(IndexError):
        dataset[len(dataset)]


def test_a_batch_is_its_items(dataset: ClipDataset) -> None:
    chosen = [33, 2, 2, 60, 0]
    items = dataset.__getitems__(chosen)
    batch = collate(items)
    assert collate(items) is items.batch
    by_hand = torch.utils.data.default_collate([dataset[i] for i in chosen])
    assert batch.keys() == by_hand.keys()
    for name, value in batch.items():
        if isinstance(value, torch.Tensor):
            assert torch.equal(value, by_hand[name])
        elif name == "margins":
            assert all(torch.equal(value[family], by_hand[name][family]) for family in FAMILIES)
        else:
            assert value == by_hand[name]
    assert isinstance(items, Items)
    assert [item["key"] for item in items[1:3]] == [batch["key"][1], batch["key"][2]]
    with pytest.raises(IndexError):
        items[5]
    # Memory stays as it is stored, channels last, which 3D convolutions like.
    assert batch["frames"].is_contiguous(memory_format=torch.channels_last_3d)


def test_targets_name_the_columns(store: Store, dataset: ClipDataset) -> None:
    assert [t.name for t in dataset.targets] == [column.name for column in store_columns(store)]
    assert [t.classes for t in dataset.targets] == (
        [16, 8] * 2 + [4, 8] * 2 + [8, 8] * 2 + [15, 15] + [16, 8] * 2 + [4, 8] * 2 + [8, 8] * 2 + [8]
    )
    for t in dataset.targets:
        assert store.read(t.array)[:, t.position].max() <= t.classes


def test_families_and_patterns_can_be_chosen(store: Store) -> None:
    some = ClipDataset(store.path, families=["motion"], patterns=["pattern_2", "global"])
    item = some[3]
    assert "appearance" not in item
    wanted = np.concatenate([store.read(f"labels/motion/{group}")[3] for group in ("pattern_2", "global")])
    assert item["motion"].tolist() == (wanted.astype(int) - 1).tolist()
    assert [t.group for t in some.targets] == ["pattern_2"] * 4 + ["global"] * 2
    for wrong in ({"families": ["emotion"]}, {"patterns": ["pattern_9"]}, {"families": []}):
        with pytest.raises(UsageError, match=r"(of this store|is named); it has"):
            ClipDataset(store.path, **wrong)


def test_frames_can_be_floats(store: Store, dataset: ClipDataset) -> None:
    mean, std = [0.4, 0.5, 0.6], 0.2
    plain = dataset[5]["frames"]
    by_hand = (plain.double() / 255 - torch.tensor(mean).double().reshape(3, 1, 1, 1)) / std
    for frames in (ClipDataset(store.path, normalise=(mean, std))[5]["frames"], normalise(plain, mean, std)):
        assert frames.dtype == torch.float32
        assert torch.allclose(frames.double(), by_hand, atol=1e-5)


def test_several_stores_are_one_data_set(source: Path, store: Store, tmp_path: Path) -> None:
    other = make_store(source, tmp_path / "b.vstats", clips_per_video=2, crops="center", save=("clips",))
    both = ClipDataset([store.path, other.path])
    assert len(both) == store.rows + other.rows
    batch = collate(both.__getitems__([1, store.rows + 2, 5, store.rows]))
    assert batch["store"].tolist() == [0, 1, 0, 1]
    assert batch["row"].tolist() == [1, 2, 5, 0]
    for place, owner in enumerate((store, other, store, other)):
        row = int(batch["row"][place])
        assert (
            batch["frames"][place].permute(1, 2, 3, 0).numpy() == owner.read("clips", row, row + 1)[0]
        ).all()
        assert batch["key"][place] == owner.keys()[owner.read("index/video")[row]]
    assert "margins" not in batch  # the other keeps none
    assert both.motion is None
    assert both.shards.max() == store.plan.shards + other.plan.shards - 1
    farneback = make_store(source, tmp_path / "c.vstats", clips_per_video=1, crops="center", flow="farneback")
    with pytest.raises(ConfigMismatch, match="flow: 'dis' -> 'farneback'"):
        ClipDataset([store.path, farneback.path])


# ------------------------------------------------------------------------------------------------------- encodings


def test_encodings_say_the_same(store: Store, dataset: ClipDataset) -> None:
    index = collate(dataset.__getitems__(range(len(dataset))))
    number = collate(ClipDataset(store.path, encoding="number").__getitems__(range(len(dataset))))
    soft = collate(ClipDataset(store.path, encoding="soft").__getitems__(range(len(dataset))))
    for family in FAMILIES:
        assert number[family].dtype == torch.float32
        assert torch.equal(number[family], (index[family] + 1).float())
        mine = [t for t in dataset.targets if t.family == family]
        assert list(soft[family]) == [t.name for t in mine]
        for k, t in enumerate(mine):
            shares = soft[family][t.name]
            assert shares.shape == (len(dataset), t.classes)
            assert (shares >= 0).all()
            defined = index[family][:, k] >= 0
            assert torch.equal(shares.argmax(dim=1)[defined], index[family][:, k][defined])
            assert torch.allclose(shares[defined].sum(dim=1), torch.ones(int(defined.sum())), atol=1e-5)
            assert not shares[~defined].any()


def test_statistics_are_those_of_the_store(store: Store) -> None:
    item = ClipDataset(store.path, statistics=True, families=["appearance"], patterns=["pattern_1"])[7]
    assert set(item["statistics"]) == {f"statistics/appearance/pattern_1/{s}" for s in ("iou", "colours")}
    for name, value in item["statistics"].items():
        assert value.tolist() == store.read(name)[7].tolist()


# --------------------------------------------------------------------------------------------------------- filters


def test_rows_without_labels_are_left_out(store: Store, tmp_path: Path) -> None:
    import zarr

    copy = tmp_path / "copy.vstats"
    shutil.copytree(store.path, copy)
    status = zarr.open_array(copy / ARRAYS / "index" / "status", mode="r+")
    status[3:20] = 1
    status[21] = 2
    rows = [int(item["row"]) for item in ClipDataset(copy).__getitems__(range(store.rows - 18))]
    assert rows == [0, 1, 2, 20, *range(22, store.rows)]
    status[:] = 2
    with pytest.raises(UsageError, match=r"no row of .* is labelled and passes"):
        ClipDataset(copy)


def test_filters(store: Store, dataset: ClipDataset) -> None:
    assert dataset.motion is not None
    bound = float(np.median(dataset.motion))
    kept = ClipDataset(store.path, where=Filter(min_motion=bound))
    assert kept.motion is not None
    assert len(kept) == (dataset.motion >= np.float32(bound)).sum() < len(dataset)
    u, v = (store.read(f"statistics/motion/global/{axis}_frames") for axis in "uv")
    assert dataset.motion == pytest.approx(((u + v) / 112**2).mean(axis=1), rel=1e-5)

    for wanted in ("moving", 0):
        moving = ClipDataset(store.path, where=Filter(classes=[wanted]))
        assert {item["key"].split("/")[0] for item in moving.__getitems__(range(len(moving)))} == {"moving"}
    with pytest.raises(UsageError, match="'flying' is no class of this store; it has 0, 1, moving, resting"):
        ClipDataset(store.path, where=Filter(classes=["flying"]))

    one = ClipDataset(store.path, where=Filter(keys={"moving/turning.mkv", "not/there.mkv"}))
    assert {item["key"] for item in one.__getitems__(range(len(one)))} == {"moving/turning.mkv"}


def test_close_races_become_undefined(store: Store) -> None:
    every = ClipDataset(store.path, families=["motion"])
    margins = collate(every.__getitems__(range(len(every))))["margins"]["motion"]
    bound = float(
        margins.max(dim=1).values.median()
    )  # half of the rows have no label that is as sure as this
    sure = ClipDataset(store.path, families=["motion"], where=Filter(min_margin=bound))
    assert len(sure) == (margins.max(dim=1).values >= bound).sum() < len(every)
    for item in sure.__getitems__(range(len(sure))):
        before = every[int(item["row"])]["motion"]
        assert torch.equal(item["motion"], torch.where(item["margins"]["motion"] < bound, -1, before))
        assert (item["motion"] >= 0).any()


def test_a_split_is_the_keys_of_a_list(source: Path, store: Store, tmp_path: Path) -> None:
    listed = tmp_path / "split.txt"
    listed.write_text("moving/right.mkv 0\nresting/gone.mkv 1\n")
    keys = split_keys(str(listed), root=str(source))
    assert keys == {"moving/right.mkv", "resting/gone.mkv"}
    assert len(ClipDataset(store.path, where=Filter(keys=keys))) == store.rows // 3


# ---------------------------------------------------------------------------------------------------------- errors


def test_what_cannot_be_loaded_is_said(source: Path, store: Store, bare: Store, tmp_path: Path) -> None:
    with pytest.raises(NotAStore, match="is not there"):
        ClipDataset(tmp_path / "nothing.vstats")
    with pytest.raises(InputError, match="no store is named"):
        ClipDataset([])
    with pytest.raises(UsageError, match=r"keeps no clips: give root=.*they were at"):
        ClipDataset(bare.path)
    with pytest.raises(UsageError, match="extract with --save clips"):
        ClipDataset(bare.path, root=source, source="clips")
    for wants in ({"statistics": True}, {"encoding": "soft"}, {"where": Filter(min_motion=1)}):
        with pytest.raises(UsageError, match="extract with --statistics"):
            ClipDataset(bare.path, root=source, **wants)
    with pytest.raises(UsageError, match="a curriculum needs the statistics"):
        ClipLoader(ClipDataset(bare.path, root=source), 4, curriculum=(0.5, 2))
    with pytest.raises(InputError, match="encoding is 'hot'; it must be one of index, number, soft"):
        ClipDataset(store.path, encoding="hot")
    with pytest.raises(InputError, match="2 roots for 1 stores"):
        ClipDataset(bare.path, root=[source, source])
    with pytest.raises(InputError, match="is no folder"):
        ClipDataset(bare.path, root=tmp_path / "nothing")


def test_unfinished_and_foreign_stores_are_refused(store: Store, tmp_path: Path) -> None:
    copy = tmp_path / "copy.vstats"
    shutil.copytree(store.path, copy)
    (copy / "COMMIT.json").unlink()
    with pytest.raises(NotCommitted, match=r"has no COMMIT\.json"):
        ClipDataset(copy)
    shutil.copy(store.path / "COMMIT.json", copy)
    from vstats.pipeline.durable import seal

    plan = json.loads((copy / "plan.json").read_text())
    del plan["sha256"]
    (copy / "plan.json").write_bytes(seal({**plan, "format_version": 99}))
    with pytest.raises(NotAStore, match="is of store format 99"):
        ClipDataset(copy)


@pytest.mark.parametrize("workers", [0, 2])
def test_a_damaged_shard_is_named_in_any_process(store: Store, tmp_path: Path, workers: int) -> None:
    copy = tmp_path / "copy.vstats"
    shutil.copytree(store.path, copy)
    shard = copy / ARRAYS / "clips" / "c.1.0.0.0.0"
    content = bytearray(shard.read_bytes())
    content[5] ^= 1
    shard.write_bytes(content)
    with pytest.raises(StoreError, match=r"c\.1\.0\.0\.0\.0, row 16: holds other bytes"):
        list(ClipLoader(ClipDataset(copy), 8, num_workers=workers, timeout=60 if workers else 0))


def test_without_torch_the_message_says_what_to_install() -> None:
    script = (
        "import sys; sys.modules['torch'] = None\n"
        "from vstats.kernels.errors import BackendUnavailable\n"
        "try: import vstats.pipeline.loader\n"
        "except BackendUnavailable as error: print(error)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert "pip install 'vstats[torch]'" in done.stdout


# -------------------------------------------------------------------------------------------------- object storage


def upload(store: Store, url: str) -> Place:
    there, here = store.place, open_place(url)
    for name in there.sizes():
        here.write(name, there.read(name))
    return here


def test_clips_come_from_object_storage_too(store: Store, dataset: ClipDataset) -> None:
    place = upload(store, f"memory://{uuid.uuid4().hex}")
    remote = ClipDataset(str(place))
    chosen = [50, 3, 3, 17, 0, 71]
    mine, theirs = (collate(d.__getitems__(chosen)) for d in (remote, dataset))
    assert torch.equal(mine["frames"], theirs["frames"])
    assert torch.equal(mine["motion"], theirs["motion"])
    assert torch.equal(pickle.loads(pickle.dumps(remote))[9]["frames"], dataset[9]["frames"])
    child = os.fork()
    if child == 0:  # its connections' threads stayed behind: a request would wait for ever
        try:
            _ = remote[0]
        except UsageError as error:
            os._exit(0 if 'multiprocessing_context="forkserver"' in str(error) else 1)
        os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    name = f"{ARRAYS}/clips/c.1.0.0.0.0"
    content = bytearray(place.read(name))
    content[5] ^= 1
    place.write(name, bytes(content))
    with pytest.raises(StoreError, match=r"memory://.*c\.1\.0\.0\.0\.0: row 16 holds other bytes"):
        _ = remote[16]
    place.delete(name)
    with pytest.raises(StoreError, match=r"c\.1\.0\.0\.0\.0"):
        _ = ClipDataset(str(place))[17]


@pytest.mark.soak
@pytest.mark.timeout(120)
def test_workers_read_object_storage(store: Store, dataset: ClipDataset, s3_url: str) -> None:
    upload(store, s3_url)
    options: dict[str, Any] = {"num_workers": 1, "multiprocessing_context": "spawn", "timeout": 100}
    assert checksums(ClipLoader(ClipDataset(s3_url), 16, by_shard=2, **options)) == checksums(
        ClipLoader(dataset, 16, by_shard=2)
    )


# ------------------------------------------------------------------------------------------------------- processes


def rows_of(loader: ClipLoader) -> list[list[int]]:
    return [batch["row"].tolist() for batch in loader]


def checksums(loader: ClipLoader) -> list[tuple[list[int], int, list[list[int]]]]:
    """Return rows, pixels and labels of every batch, small enough to compare."""
    return [
        (batch["row"].tolist(), int(batch["frames"].to(torch.int64).sum()), batch["motion"].tolist())
        for batch in loader
    ]


CHEAP = [("fork", 0, False), ("fork", 1, True), ("fork", 4, False), ("spawn", 1, True)]
ALL = [
    (method, workers, persistent)
    for method in ("fork", "spawn", "forkserver")
    for workers in (0, 1, 4)
    for persistent in (False, True)
    if workers or not persistent  # PyTorch refuses persistent workers where there are none
]


FEW_CORES = pytest.mark.filterwarnings("ignore:This DataLoader will create:UserWarning")


def check_processes(dataset: ClipDataset, method: str, workers: int, persistent: bool) -> None:
    options: dict[str, Any] = {}
    if workers:
        options = {"multiprocessing_context": method, "persistent_workers": persistent, "timeout": 100}
    if method == "forkserver":
        multiprocessing.set_forkserver_preload(["vstats.pipeline.loader"])
    loader = ClipLoader(dataset, 10, seed=4, num_workers=workers, **options)
    plain = ClipLoader(dataset, 10, seed=4)
    for epoch in (0, 1):
        loader.set_epoch(epoch)
        plain.set_epoch(epoch)
        assert checksums(loader) == checksums(plain)
    with torch.random.fork_rng():  # PyTorch's own order plays no part
        torch.manual_seed(99)
        assert rows_of(loader) == rows_of(plain)


@FEW_CORES
@pytest.mark.timeout(120)
@pytest.mark.parametrize(("method", "workers", "persistent"), CHEAP)
def test_any_process_gives_the_same(
    dataset: ClipDataset, method: str, workers: int, persistent: bool
) -> None:
    check_processes(dataset, method, workers, persistent)


@FEW_CORES
@pytest.mark.soak
@pytest.mark.timeout(240)
@pytest.mark.parametrize(("method", "workers", "persistent"), [c for c in ALL if c not in CHEAP])
def test_every_combination_of_processes_gives_the_same(
    dataset: ClipDataset, method: str, workers: int, persistent: bool
) -> None:
    check_processes(dataset, method, workers, persistent)


def test_workers_write_into_memory_that_is_shared_already(dataset: ClipDataset) -> None:
    for batch in ClipLoader(dataset, 16, num_workers=1, timeout=60):
        assert batch["frames"].is_shared()
        assert batch["frames"].is_contiguous(memory_format=torch.channels_last_3d)


def check_no_leak(dataset: ClipDataset, epochs: int, workers: int) -> tuple[float, int]:
    """Return how many MB and files more there are after `epochs` than after the first two."""
    process = psutil.Process()
    loader = ClipLoader(dataset, 8, num_workers=workers, **({"timeout": 60} if workers else {}))
    for epoch in range(epochs):
        loader.set_epoch(epoch)
        rows_of(loader)
        if epoch == 1:
            memory, files = process.memory_info().rss, process.num_fds()
    grown = (process.memory_info().rss - memory) / 1e6
    for _ in range(50):  # pipes of workers that have ended are closed by a thread, a little later
        if process.num_fds() <= files:
            break
        time.sleep(0.1)
    return grown, process.num_fds() - files


@pytest.mark.parametrize("workers", [0, 2])
def test_nothing_leaks(dataset: ClipDataset, workers: int) -> None:
    grown, files = check_no_leak(dataset, 5, workers)
    assert grown < 40  # one batch is 5 MB
    assert files <= 0


@FEW_CORES
@pytest.mark.soak
@pytest.mark.parametrize("workers", [0, 1, 4])
def test_nothing_leaks_over_20_epochs(dataset: ClipDataset, workers: int) -> None:
    grown, files = check_no_leak(dataset, 20, workers)
    print(f"\n{workers} workers, 20 epochs: {grown:+.1f} MB, {files:+d} open files")
    assert grown < 40
    assert files <= 0


def test_a_data_set_travels_small(dataset: ClipDataset) -> None:
    dataset[0]
    content = pickle.dumps(dataset)
    assert len(content) < 200_000
    copy = pickle.loads(content)
    assert torch.equal(copy[9]["frames"], dataset[9]["frames"])


# ----------------------------------------------------------------------------------------------------------- order


def test_pytorch_s_own_samplers_work(dataset: ClipDataset) -> None:
    seen: list[int] = []
    for rank in range(2):
        sampler = DistributedSampler(dataset, num_replicas=2, rank=rank, seed=1)
        for batch in DataLoader(dataset, batch_size=8, sampler=sampler, collate_fn=collate):
            seen += batch["row"].tolist()
    assert sorted(seen) == list(range(len(dataset)))
    default = next(iter(DataLoader(dataset, batch_size=4)))  # and its own collation, which copies
    assert torch.equal(default["frames"], collate(dataset.__getitems__(range(4)))["frames"])


def test_ranks_share_an_epoch(dataset: ClipDataset) -> None:
    rows = [
        row for rank in range(3) for b in rows_of(ClipLoader(dataset, 5, rank=rank, replicas=3)) for row in b
    ]
    assert sorted(rows) == list(range(len(dataset)))


@pytest.mark.parametrize("workers", [0, 2])
def test_training_goes_on_in_mid_epoch(dataset: ClipDataset, workers: int) -> None:
    options: dict[str, Any] = {"seed": 7, "num_workers": workers, **({"timeout": 60} if workers else {})}
    whole = ClipLoader(dataset, 10, **options)
    whole.set_epoch(2)
    expected = rows_of(whole)
    stopped = ClipLoader(dataset, 10, **options)
    stopped.set_epoch(2)
    running = iter(stopped)
    got = [next(running)["row"].tolist() for _ in range(3)]
    state = json.loads(json.dumps(stopped.state_dict()))
    resumed = ClipLoader(dataset, 10, **options)
    resumed.load_state_dict(state)
    resumed.set_epoch(state["epoch"])
    assert resumed.state_dict() == state
    assert len(resumed) == len(expected) - 3
    got += [batch["row"].tolist() for batch in resumed]
    assert got == expected
    resumed.set_epoch(3)
    assert len(rows_of(resumed)) == len(expected)


def test_a_state_belongs_to_its_rows(store: Store, dataset: ClipDataset) -> None:
    state = ClipLoader(dataset, 4).state_dict()
    fewer = ClipDataset(store.path, where=Filter(classes=["moving"]))
    with pytest.raises(ConfigMismatch, match="was taken from other data"):
        ClipLoader(fewer, 4).load_state_dict(state)


def test_by_shard_and_curriculum(dataset: ClipDataset) -> None:
    rows = [row for batch in rows_of(ClipLoader(dataset, 8, by_shard=2, drop_last=True)) for row in batch]
    assert len(set(np.array(rows[:32]) // 16)) == 2
    assert dataset.motion is not None
    loader = ClipLoader(dataset, 8, curriculum=(0.25, 2))
    first = [row for batch in rows_of(loader) for row in batch]
    assert len(first) == len(dataset) // 4
    rest = sorted(set(range(len(dataset))) - set(first))
    assert dataset.motion[first].min() >= dataset.motion[rest].max()
    loader.set_epoch(2)
    assert len([row for batch in rows_of(loader) for row in batch]) == len(dataset)


def test_targets_of_other_profiles_are_counted() -> None:
    from vstats.pipeline.config import ExtractConfig

    mas = targets(row_arrays(ExtractConfig(profile="mas-released")))
    assert len(mas) == 14
    assert {t.classes for t in mas if t.group == "global"} == {15}
