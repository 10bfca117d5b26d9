"""A PyTorch data set over stores of labels. The only import of torch.

    >>> from vstats.pipeline.loader import ClipDataset, ClipLoader
    >>> dataset = ClipDataset("ucf101.vstats")                  # its clips; or root="videos/" where it has none
    >>> loader = ClipLoader(dataset, batch_size=30, seed=0, num_workers=4)
    >>> for epoch in range(18):
    ...     loader.set_epoch(epoch)
    ...     for batch in loader:
    ...         batch["frames"]                                 # uint8 [30, 3, 16, 112, 112]
    ...         batch["motion"], batch["appearance"]            # int64 [30, 14] and [30, 13]

A whole batch is read at once, each clip by one system call straight into the batch's buffer, which in a worker process
is memory shared with the training loop: no clip is copied a second time. Files are opened by the process that reads
them, so fork, spawn and forkserver all do. `ClipDataset` is an ordinary map-style data set: PyTorch's `DataLoader` and
`DistributedSampler` take it as it is, with `collate` as ``collate_fn``.
"""

import hashlib
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from vstats.kernels.errors import BackendUnavailable, InputError

try:
    import torch
    from torch.utils.data import DataLoader, Dataset, get_worker_info
except ImportError as error:
    raise BackendUnavailable(f"the loader needs PyTorch ({error}): pip install 'vstats[torch]'") from error

from vstats.pipeline.clip_reader import ClipReader
from vstats.pipeline.config import ExtractConfig, canonical_json
from vstats.pipeline.encodings import (
    ENCODINGS,
    IGNORE,
    Target,
    class_indices,
    distribution,
    regression_targets,
)
from vstats.pipeline.errors import ConfigMismatch, DifferentVideo, UsageError
from vstats.pipeline.place import ObjectPlace
from vstats.pipeline.records import PlannedRow
from vstats.pipeline.remote_clips import RemoteClips
from vstats.pipeline.sampling import EpochSampler, in_share
from vstats.pipeline.selection import Filter, Selection, select, split_keys
from vstats.pipeline.store import ARRAYS, INDEX, Store

if TYPE_CHECKING:
    from vstats.pipeline.video_clips import VideoClips

__all__ = [
    "IGNORE", "ClipDataset", "ClipLoader", "DifferentVideo", "Filter", "collate", "in_share", "normalise", "split_keys",
]  # fmt: skip

Item = dict[str, Any]

CHOOSES_ROWS = ("clips_per_video", "clip_step", "crops", "flip", "seed", "short", "damaged", "save")
"""Options in which stores that are trained on together may differ: they choose rows, and say nothing about labels."""


class ClipDataset(Dataset[Item]):
    """Clips and labels of one or several stores; item i is a dict.

    ============== ===================================== ==========================================================
    entry          one item; a batch has [B] in front    meaning
    ============== ===================================== ==========================================================
    frames         uint8 [3, T, H, W], or float32        RGB, mirrored where the row says so
    FAMILY         see `vstats.pipeline.encodings`       labels of a family: "motion" [14], "appearance" [13]
    margins        dict: FAMILY -> float32 [k]           by how much each label won (0 to 1), if stored
    statistics     dict: array -> float32 or int64       what labels were taken over, if asked for
    key            str                                   the video
    store, row     int64                                 position of the store among `stores`, and of the row in it
    label          int64                                 the video's own class, -1 unknown
    ============== ===================================== ==========================================================

    Rows without labels are never among the items.

    Parameters
    ----------
    stores : path, or sequence of path
        Finished stores, of the same profile, flow and geometry.
    root : path, or sequence of path, optional
        Folder of the videos, for stores without clips: one for all, or one each.
    source : {"auto", "clips", "videos"}
        Take frames from stored clips, from videos, or from clips where there are any.
    mismatch : {"error", "warn"}
        What to do about a video with another sha256 than was labelled, see `vstats.pipeline.video_clips.VideoClips`.
    families, patterns : sequence of str, optional
        Label families, and patterns or "global"; default all.
    encoding : {"index", "number", "soft"}
        How labels are given; "soft" gives a dict, label name -> float32 [classes], and needs statistics.
    statistics : bool
        Also give the statistics behind the chosen labels.
    where : Filter
        Which rows to keep.
    normalise : (mean, std), optional
        Give frames as float32, ``(rgb / 255 - mean) / std``, numbers or one a channel. It takes four times the memory
        and bandwidth of uint8: `normalise` on the GPU is the faster way.
    check : {"first", "always", "never"}
        When a stored clip is compared with its CRC-32C: when a process first reads it, each time, or never. From
        object storage it always is.

    Attributes
    ----------
    targets : tuple of Target
        Every label: its name, family, number of classes. The columns of ``item["motion"]`` are those of that family,
        in order.
    shards : int64 [n]
        The shard that each item stands in, numbered through all stores.
    motion : float32 [n] or None
        The amount of motion of each item, in pixels, where all stores keep statistics.
    keys : tuple of str
        The videos that items are of, each once, in the order of the stores.
    name : str
        Digest of what the items are, which a resumed run is checked against.

    Raises
    ------
    NotAStore, NotCommitted, StoreError
        A store is not there, not finished, of another version, or damaged.
    ConfigMismatch
        Labels of the stores do not mean the same.
    UsageError
        A store has neither clips nor a root; a name is unknown; statistics are wanted and not kept; no row is left.
    DecodeError
        On reading: a video is missing, or is not the one that was labelled.
    """

    def __init__(
        self,
        stores: str | Path | Sequence[str | Path],
        *,
        root: str | Path | Sequence[str | Path] | None = None,
        source: str = "auto",
        mismatch: str = "error",
        families: Sequence[str] | None = None,
        patterns: Sequence[str] | None = None,
        encoding: str = "index",
        statistics: bool = False,
        where: Filter | None = None,
        normalise: tuple[Any, Any] | None = None,
        check: str = "first",
    ) -> None:
        for what, value, choices in (("source", source, SOURCES), ("encoding", encoding, ENCODINGS)):
            if value not in choices:
                raise InputError(f"{what} is {value!r}; it must be one of {', '.join(choices)}")
        paths = [stores] if isinstance(stores, str | Path) else list(stores)
        if not paths:
            raise InputError("no store is named; give at least one")
        roots = [root] * len(paths) if root is None or isinstance(root, str | Path) else list(root)
        if len(roots) != len(paths):
            raise InputError(
                f"there are {len(roots)} roots for {len(paths)} stores; give one for all, or one each"
            )
        opened = [Store.open(path) for path in paths]
        for other in opened[1:]:
            _check_same_labels(opened[0], other)
        chosen = [
            select(
                store, where or Filter(), families=families, groups=patterns,
                statistics=statistics or encoding == "soft",
            )
            for store in opened
        ]  # fmt: skip
        if not sum(len(selection.rows) for selection in chosen):
            raise UsageError(f"no row of {', '.join(map(str, paths))} is labelled and passes the filter")
        self.encoding, self.normalise, self.with_statistics = encoding, normalise, statistics
        self.config: ExtractConfig = opened[0].plan.config
        self.targets = chosen[0].targets
        self.sources = tuple(
            _source(store, folder, source, mismatch, check)
            for store, folder in zip(opened, roots, strict=True)
        )
        self._columns = _Columns(opened, chosen, self.targets)
        self.shards = self._columns.shards
        self.motion = self._columns.motion
        self.keys = tuple(key.decode() for key in self._columns.keys[np.unique(self._columns.video)].tolist())
        self.name = _name(opened, chosen)

    def __len__(self) -> int:
        return len(self._columns.rows)

    def __getitem__(self, index: int) -> Item:
        item: Item = self.__getitems__([index])[0]
        return item

    def __getitems__(self, indices: Sequence[int]) -> "Items":
        """Return several items, read together: a sequence whose `batch` `collate` passes on as it is."""
        chosen = np.asarray(indices, np.int64)
        if len(chosen) and not (-len(self) <= chosen.min() and chosen.max() < len(self)):
            raise IndexError(f"item {indices} is not among {len(self)}")
        chosen %= len(self)
        columns = self._columns
        batch: Item = {"frames": self._frames(chosen)}
        labels = {name: values[chosen] for name, values in columns.labels.items()}
        statistics = {name: values[chosen] for name, values in columns.statistics.items()}
        for family in dict.fromkeys(t.family for t in self.targets):
            batch[family] = self._encode([t for t in self.targets if t.family == family], labels, statistics)
        if columns.margins:
            batch["margins"] = {name: torch.from_numpy(v[chosen]) for name, v in columns.margins.items()}
        if self.with_statistics:
            batch["statistics"] = {name: _tensor(values) for name, values in statistics.items()}
        batch["key"] = [key.decode() for key in columns.keys[columns.video[chosen]].tolist()]
        for name, values in (("store", columns.store), ("row", columns.rows), ("label", columns.classes)):
            batch[name] = torch.from_numpy(values[chosen])
        return Items(batch, len(chosen))

    def _encode(
        self, wanted: Sequence[Target], labels: Mapping[str, Any], statistics: Mapping[str, Any]
    ) -> torch.Tensor | dict[str, torch.Tensor]:
        if self.encoding == "soft":
            soft = {}
            for t in wanted:
                mine = labels[t.array]
                within = None if t.within is None else mine[:, t.within]
                soft[t.name] = torch.from_numpy(distribution(t, mine[:, t.position], statistics, within))
            return soft
        table = np.concatenate([labels[name] for name in dict.fromkeys(t.array for t in wanted)], axis=1)
        return torch.from_numpy(
            class_indices(table) if self.encoding == "index" else regression_targets(table)
        )

    def _frames(self, chosen: Any) -> torch.Tensor:
        length, side = self.config.clip_length, self.config.crop_size
        shape = (len(chosen), length, side, side, 3)
        frames = _new_buffer(shape)
        buffer = frames.numpy()
        columns = self._columns
        owners = columns.store[chosen]
        for number in np.unique(owners).tolist():
            places = np.flatnonzero(owners == number)
            # The usual case, one store, reads into the batch itself; with several, what belongs to one lies scattered.
            whole = len(places) == len(chosen)
            target = buffer if whole else np.empty((len(places), *shape[1:]), np.uint8)
            source = self.sources[number]
            if isinstance(source, ClipReader | RemoteClips):
                source.read_into(columns.rows[chosen[places]], target)
            else:
                source.read_into([columns.planned_row(i) for i in chosen[places].tolist()], target)
            if not whole:
                buffer[places] = target
        channels_first = frames.permute(0, 4, 1, 2, 3)
        return channels_first if self.normalise is None else normalise(channels_first, *self.normalise)


class Items(Sequence[Item]):
    """Items that were read together. Each is a view of `batch`, whose tensors have [B] in front."""

    def __init__(self, batch: Item, count: int) -> None:
        self.batch = batch
        self.size = count

    def __len__(self) -> int:
        return self.size

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(self.size))]
        if not -self.size <= index < self.size:
            raise IndexError(f"item {index} is not among {self.size}")
        return _pick(self.batch, index)


def _pick(values: Mapping[str, Any], index: int) -> Item:
    return {
        name: _pick(value, index) if isinstance(value, Mapping) else value[index]
        for name, value in values.items()
    }


def collate(items: Any) -> Any:
    """Return the batch of items that were read together, without copying; of anything else, PyTorch's default."""
    if isinstance(items, Items):
        return items.batch
    return torch.utils.data.default_collate(items)


def normalise(frames: torch.Tensor, mean: Any = 0.5, std: Any = 0.25) -> torch.Tensor:
    """Return uint8 frames [..., 3, T, H, W] as float32 ``(rgb / 255 - mean) / std``, on the device they are on.

    `mean` and `std` are numbers, or one a channel.
    """
    shift = torch.as_tensor(mean, dtype=torch.float32, device=frames.device).reshape(-1, 1, 1, 1)
    scale = torch.as_tensor(std, dtype=torch.float32, device=frames.device).reshape(-1, 1, 1, 1)
    return (frames.to(torch.float32) - 255 * shift) / (255 * scale)


class ClipLoader:
    """A `DataLoader` over a `ClipDataset` whose order depends on (seed, epoch) alone, and that can be resumed.

    Parameters
    ----------
    dataset : ClipDataset
        What to load.
    batch_size : int
        Rows a batch, of this process.
    seed, shuffle, rank, replicas, drop_last
        See `vstats.pipeline.sampling.EpochSampler`.
    by_shard : int
        Shuffle by groups of this many shards, for disks and object storage; 0: everything with everything.
    curriculum : (float, int), optional
        Train from easy to hard: the share of rows, those that move most, in epoch 0, and the first epoch of all rows.
    **options
        Whatever else `torch.utils.data.DataLoader` takes: num_workers, pin_memory, persistent_workers,
        multiprocessing_context, timeout ...

    Raises
    ------
    UsageError
        A curriculum is asked for, and a store keeps no statistics.
    """

    def __init__(
        self,
        dataset: ClipDataset,
        batch_size: int,
        *,
        seed: int = 0,
        shuffle: bool = True,
        by_shard: int = 0,
        curriculum: tuple[float, int] | None = None,
        rank: int = 0,
        replicas: int = 1,
        drop_last: bool = False,
        **options: Any,
    ) -> None:
        if curriculum is not None and dataset.motion is None:
            raise UsageError(
                "a curriculum needs the statistics that motion is read from; extract with --statistics"
            )
        self.dataset = dataset
        self.sampler = EpochSampler(
            len(dataset), batch_size, seed=seed, shuffle=shuffle, shards=dataset.shards if by_shard else None,
            window=max(by_shard, 1), motion=None if curriculum is None else dataset.motion,
            curriculum=curriculum or (1.0, 0), rank=rank, replicas=replicas, drop_last=drop_last, name=dataset.name,
        )  # fmt: skip
        self.loader: DataLoader[Item] = DataLoader(
            dataset, batch_sampler=self.sampler, collate_fn=collate, **options
        )
        self._given = 0

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch that iterating next gives."""
        if epoch != self.sampler.epoch:
            self._given = 0
        self.sampler.set_epoch(epoch)

    def __len__(self) -> int:
        return len(self.sampler)

    def __iter__(self) -> Iterator[Item]:
        self._given = 0
        for batch in self.loader:
            self._given += 1
            yield batch

    def state_dict(self) -> dict[str, Any]:
        """Return where training stands: after the batch that was given last, however many workers have read ahead."""
        return self.sampler.state_dict(self._given)

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on where `state_dict` was called: the next iteration gives the rest of that epoch."""
        self.sampler.load_state_dict(state)
        self._given = 0


SOURCES = ("auto", "clips", "videos")


class _Columns:
    """One line an item, through all stores: plain arrays, which forked workers share and spawned ones are sent."""

    def __init__(
        self, stores: Sequence[Store], chosen: Sequence[Selection], targets: Sequence[Target]
    ) -> None:
        def join(parts: Sequence[Any]) -> Any:
            return np.concatenate(list(parts))

        first_video = np.cumsum([0, *(len(store.videos) for store in stores)])
        first_shard = np.cumsum([0, *(store.plan.shards for store in stores)])
        counted = list(enumerate(zip(stores, chosen, strict=True)))
        self.rows = join([s.rows for s in chosen])
        self.store = join([np.full(len(s.rows), number, np.int64) for number, s in enumerate(chosen)])
        self.video = join([s.video + first_video[number] for number, s in enumerate(chosen)])
        self.shards = join([s.rows // store.plan.shard_size + first_shard[n] for n, (store, s) in counted])
        videos = [video for store in stores for video in store.videos]
        self.keys = np.array([video.key.encode() for video in videos])
        self.classes = np.array([video.label for video in videos], np.int64)[self.video]
        self.labels = {name: join([s.labels[name] for s in chosen]) for name in chosen[0].labels}
        self.statistics = {name: join([s.statistics[name] for s in chosen]) for name in chosen[0].statistics}
        self.margins: dict[str, Any] = {}
        if all(s.margins for s in chosen):
            for family in dict.fromkeys(t.family for t in targets):
                names = dict.fromkeys(
                    t.array.replace("labels/", "margins/", 1) for t in targets if t.family == family
                )
                self.margins[family] = join(
                    [np.concatenate([s.margins[n] for n in names], axis=1) for s in chosen]
                )
        self.motion = join([s.motion for s in chosen]) if all(s.motion is not None for s in chosen) else None
        index = {
            a.name: join([st.read(a.name)[s.rows] for st, s in zip(stores, chosen, strict=True)])
            for a in INDEX
        }
        self._index = {name.removeprefix("index/"): values for name, values in index.items()}

    def planned_row(self, item: int) -> PlannedRow:
        values = {name: column[item].item() for name, column in self._index.items()}
        return PlannedRow(**{**values, "flip": bool(values["flip"])})


def _source(
    store: Store, root: str | Path | None, source: str, mismatch: str, check: str
) -> "ClipReader | RemoteClips | VideoClips":
    stored = "clips" in store.plan.config.save
    if source == "clips" and not stored:
        raise UsageError(
            f"{store.place} keeps no clips; extract with --save clips, or give root=, the videos' folder"
        )
    if stored and source != "videos":
        if isinstance(store.place, ObjectPlace):
            return RemoteClips(store.place, f"{ARRAYS}/clips")
        return ClipReader(store.path / ARRAYS / "clips", check=check, threads=_threads())
    if root is None:
        raise UsageError(
            f"{store.place} keeps no clips: give root=, the folder of its videos "
            f"(they were at {store.plan.root} where they were labelled)"
        )
    from vstats.pipeline.video_clips import VideoClips  # decoding is loaded where videos are decoded alone

    return VideoClips(store, root, mismatch=mismatch)


def _threads() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _check_same_labels(first: Store, other: Store) -> None:
    found = [
        line
        for line in first.plan.config.differences(other.plan.config)
        if line.split(":")[0] not in CHOOSES_ROWS
    ]
    # A plan's fingerprint also holds the version of the definition: today's is recomputed from the configuration.
    today = [store.plan.fingerprint == store.plan.config.fingerprint() for store in (first, other)]
    if today[0] != today[1]:
        found.append("they were made by versions of vstats that define labels differently: extract one again")
    if found:
        raise ConfigMismatch(
            f"labels of {first.place} and {other.place} do not mean the same:\n  " + "\n  ".join(found)
        )


def _name(stores: Sequence[Store], chosen: Sequence[Selection]) -> str:
    rows = [hashlib.sha256(np.ascontiguousarray(s.rows, "<i8").tobytes()).hexdigest() for s in chosen]
    text = canonical_json({"stores": [store.digest for store in stores], "rows": rows})
    return hashlib.sha256(text.encode()).hexdigest()


def _new_buffer(shape: tuple[int, ...]) -> torch.Tensor:
    """Return an uninitialised uint8 tensor; in a worker process, in memory that the training loop shares."""
    if get_worker_info() is None:
        return torch.empty(shape, dtype=torch.uint8)
    storage = torch.UntypedStorage._new_shared(int(np.prod(shape)))  # type: ignore[no-untyped-call]
    return torch.empty(0, dtype=torch.uint8).set_(storage).view(shape)


def _tensor(values: Any) -> torch.Tensor:
    # PyTorch has no arithmetic for uint32.
    return torch.from_numpy(values.astype(np.int64) if values.dtype == np.uint32 else values)
