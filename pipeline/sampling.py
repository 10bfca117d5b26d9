"""In which order rows are visited: pure functions of (seed, epoch), and a sampler that can stop and go on anywhere.

Nothing here is drawn from a generator with a state: a row's place is the rank of a hash of (seed, epoch, row), so the
order is the same on every machine, for every number of processes, and with every version of NumPy or PyTorch.
"""

import hashlib
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from vstats.kernels.errors import InputError
from vstats.pipeline.errors import ConfigMismatch

I64 = npt.NDArray[np.int64]
F32 = npt.NDArray[np.float32]
U64 = npt.NDArray[np.uint64]


def shuffled(n: int, *, seed: int, epoch: int) -> I64:
    """Return a permutation of 0..n-1, int64 [n]."""
    order: I64 = np.argsort(_hashes(np.arange(n, dtype=np.uint64), seed, epoch), kind="stable")
    return order


def shuffled_by_shard(shards: I64, *, seed: int, epoch: int, window: int = 8) -> I64:
    """Return a permutation that visits shards in groups, for disks and object storage.

    Shards are shuffled and taken `window` at a time; the rows of each group are shuffled together. While a group lasts,
    only its files are read, each of its rows once; rows that are neighbours in a shard still end up in different
    batches.

    Parameters
    ----------
    shards : int64 [n]
        The shard that each row stands in.
    seed, epoch : int
        What decides the order.
    window : int
        Shards a group. More mix better and keep more files in use.

    Returns
    -------
    int64 [n]
        Positions in `shards`.
    """
    if window < 1:
        raise InputError(f"window is {window}; it must be at least 1 shard")
    present, member = np.unique(shards, return_inverse=True)
    place = np.empty(len(present), np.int64)
    place[shuffled(len(present), seed=seed, epoch=epoch)] = np.arange(len(present))
    order: I64 = np.lexsort(
        (_hashes(np.arange(len(shards), dtype=np.uint64), seed, epoch), place[member] // window)
    )
    return order


def easiest(motion: F32, share: float) -> I64:
    """Return the positions of the `share` of rows that move most, from the most motion to the least.

    Much motion is easy: the block that moves most is then plain to see. With `share` growing from epoch to epoch this
    is the papers' curriculum, easy to hard; ties keep their order.

    Parameters
    ----------
    motion : float32 [n]
        Amount of motion of each row.
    share : float
        Above 0, at most 1.

    Returns
    -------
    int64 [ceil(share * n)]
    """
    if not 0 < share <= 1:
        raise InputError(f"share is {share}; it must be above 0 and at most 1")
    order: I64 = np.argsort(-motion.astype(np.float64), kind="stable")
    return order[: int(np.ceil(share * len(motion)))]


def pace(epoch: int, *, start: float, full_at: int) -> float:
    """Return the share of rows to train on in `epoch`: from `start` in epoch 0, evenly, to all from `full_at` on."""
    return 1.0 if epoch >= full_at else start + (1 - start) * epoch / full_at


class EpochSampler:
    """Batches of positions for `torch.utils.data.DataLoader(batch_sampler=...)`, resumable at any batch.

    Parameters
    ----------
    n : int
        Rows of the data set.
    batch_size : int
        Rows a batch, of this process.
    seed : int
        With the epoch, decides the order.
    shuffle : bool
        False: rows in order.
    shards : int64 [n], optional
        The shard of each row: shuffle by shard.
    window : int
        Shards a group, where `shards` is given.
    motion : float32 [n], optional
        The amount of motion of each row: train from easy to hard, see `curriculum`.
    curriculum : (float, int)
        The share of rows, those that move most, that epoch 0 is trained on, and the first epoch of all rows.
    rank, replicas : int
        This process and how many there are, as for `torch.utils.data.DistributedSampler`: row i of the order goes to
        process ``i % replicas``.
    drop_last : bool
        Leave out the rows that do not fill a batch of every process. False: the last batch is smaller, and the order
        is continued from its beginning until every process has equally many rows.
    name : str
        What the rows are of: a state is only taken back by a sampler of the same name and size.

    Notes
    -----
    `set_epoch` chooses the epoch; iterating does not move on by itself. A state counts the rows that all processes
    together have been given, so training goes on in mid-epoch with another batch size or number of processes too.
    """

    def __init__(
        self,
        n: int,
        batch_size: int,
        *,
        seed: int = 0,
        shuffle: bool = True,
        shards: I64 | None = None,
        window: int = 8,
        motion: F32 | None = None,
        curriculum: tuple[float, int] = (0.5, 1),
        rank: int = 0,
        replicas: int = 1,
        drop_last: bool = False,
        name: str = "",
    ) -> None:
        if batch_size < 1:
            raise InputError(f"batch_size is {batch_size}; it must be at least 1")
        if not 0 <= rank < replicas:
            raise InputError(f"rank is {rank} of {replicas} replicas; it must be from 0 to {replicas - 1}")
        self.n, self.batch_size, self.seed, self.shuffle = n, batch_size, seed, shuffle
        self.shards, self.window, self.motion, self.curriculum = shards, window, motion, curriculum
        self.rank, self.replicas, self.drop_last, self.name = rank, replicas, drop_last, name
        self.epoch = 0
        self.start = 0

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch that iterating next gives; a state that was taken back in this epoch stays."""
        if epoch != self.epoch:
            self.epoch, self.start = epoch, 0

    def order(self) -> I64:
        """Return the whole epoch's positions, for all processes together."""
        chosen = np.arange(self.n, dtype=np.int64)
        if self.motion is not None:
            chosen = np.sort(
                easiest(self.motion, pace(self.epoch, start=self.curriculum[0], full_at=self.curriculum[1]))
            )
        if not self.shuffle:
            return chosen
        if self.shards is None:
            return chosen[shuffled(len(chosen), seed=self.seed, epoch=self.epoch)]
        shards = self.shards[chosen]
        return chosen[shuffled_by_shard(shards, seed=self.seed, epoch=self.epoch, window=self.window)]

    def _mine(self) -> I64:
        order = self.order()
        # Once for the epoch, and once more for what is left of it: that may have been begun by more processes or fewer.
        left = self._divisible(self._divisible(order, order)[self.start :], order)
        return left[self.rank :: self.replicas]

    def _divisible(self, rows: I64, order: I64) -> I64:
        over = len(rows) % self.replicas
        if over == 0:
            return rows
        if self.drop_last:
            return rows[: len(rows) - over]
        return np.concatenate([rows, np.resize(order, self.replicas - over)])

    def __iter__(self) -> Iterator[list[int]]:
        mine = self._mine()
        end = len(mine) // self.batch_size * self.batch_size if self.drop_last else len(mine)
        for at in range(0, end, self.batch_size):
            yield mine[at : at + self.batch_size].tolist()

    def __len__(self) -> int:
        full, rest = divmod(len(self._mine()), self.batch_size)
        return full + (rest > 0 and not self.drop_last)

    def state_dict(self, batches: int = 0) -> dict[str, Any]:
        """Return where training stands when this process has finished `batches` of the iteration under way."""
        done = self.start + batches * self.batch_size * self.replicas
        return {"name": self.name, "rows": self.n, "seed": self.seed, "epoch": self.epoch, "done": done}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on where a state was taken: the next iteration begins with the rows not yet given.

        Raises
        ------
        ConfigMismatch
            The state is of other rows or another seed.
        """
        mine = {"name": self.name, "rows": self.n, "seed": self.seed}
        found = [f"{k}: {v!r} -> {state[k]!r}" for k, v in mine.items() if state[k] != v]
        if found:
            raise ConfigMismatch(
                "this state was taken from other data ("
                + "; ".join(found)
                + "); use the data and seed it was taken with"
            )
        self.epoch, self.start = int(state["epoch"]), int(state["done"])


def in_share(key: str, *, share: float, seed: int = 0) -> bool:
    """Say whether a video belongs to the `share` that is held out: decided by its key and the seed alone."""
    (value,) = _hashes(np.array([_number(key)], np.uint64), seed, 0).tolist()
    return bool(value < share * 2.0**64)


def _number(text: str) -> int:
    return int.from_bytes(hashlib.sha256(text.encode("utf-8", "surrogateescape")).digest()[:8], "big")


def _hashes(values: U64, seed: int, epoch: int) -> U64:
    """Hash each value together with seed and epoch: splitmix64 (Steele, Lea, Flood 2014), chained."""
    # The key is mixed before it meets the values: seeds 0 and 1 must not give orders that differ by one bit of the row.
    key = _splitmix(_splitmix(np.array([seed % 2**64], np.uint64)) ^ np.uint64(epoch % 2**64))
    return _splitmix(_splitmix(values ^ key))


def _splitmix(value: U64) -> U64:
    mixed = value + np.uint64(0x9E3779B97F4A7C15)  # wraps around: that is the point
    mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return mixed ^ (mixed >> np.uint64(31))
