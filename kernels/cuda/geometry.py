"""How work is laid out on a device: grids, teams, shared memory and batches. Numbers in, numbers out."""

from dataclasses import dataclass

from vstats.kernels.contract import TVL1Params
from vstats.kernels.levels import level_sizes

THREADS = 256
"""Threads a block of every kernel but `solve`."""

SUMS_BYTES = 32 * 8
"""Room in shared memory for the stop test, for each block of a team: a whole number a warp."""

PLANES_ON_GRID = 65535
"""What the second axis of a grid counts to."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What a device offers.

    Parameters
    ----------
    shared_bytes : int
        Shared memory that one block may take.
    largest_team : int
        Blocks that may share their memory and wait for each other: 8 from compute capability 9.0 on, 1 before.
    threads : int
        Threads a block of `solve`: whole warps, at most 1024.
    memory_bytes : int
        Free memory of the device.
    """

    shared_bytes: int
    largest_team: int
    threads: int = 1024
    memory_bytes: int = 1 << 40


@dataclass(frozen=True, slots=True, kw_only=True)
class SolveLaunch:
    """How a level is solved: which kernel, how many blocks a frame pair, the rows of each, shared memory of each."""

    kernel: str
    team: int
    band: int
    shared_bytes: int


def blocks(things: int, threads: int = THREADS) -> int:
    """Return the number of blocks that give every thing a thread."""
    return -(-things // threads)


def band_height(height: int, team: int) -> int:
    """Return the rows of a block's band: even, so that the median of a row pair never needs two blocks."""
    return 2 * blocks(blocks(height, 2), team)


def band_bytes(height: int, width: int, team: int) -> int:
    """Return the shared memory of one block of a team: ten planes of its band, four rows of its neighbours', the sums."""
    return team * SUMS_BYTES + 4 * (10 * band_height(height, team) + 4) * width


def solve_launch(height: int, width: int, limits: Limits) -> SolveLaunch:
    """Return the smallest team whose shared memory holds the level, or the largest team on global memory."""
    for team in range(1, limits.largest_team + 1):
        needed = band_bytes(height, width, team)
        if needed <= limits.shared_bytes:
            return SolveLaunch(
                kernel="solve_shared", team=team, band=band_height(height, team), shared_bytes=needed
            )
    team = limits.largest_team
    return SolveLaunch(
        kernel="solve_global", team=team, band=band_height(height, team), shared_bytes=team * SUMS_BYTES
    )


def pair_bytes(height: int, width: int, params: TVL1Params, limits: Limits) -> int:
    """Return an upper bound of the device memory that one more frame pair of a batch takes."""
    total = 0
    for h, w in level_sizes(height, width, params):
        planes = 2 + 2 + 2 + (8 if solve_launch(h, w, limits).kernel == "solve_global" else 0)
        # One more frame: its plane and, four times as deep, its gradients with their rim.
        total += 4 * h * w * (planes + 1) + 16 * (h + 8) * (w + 8)
    return total + 8 * height * width


def pairs_at_once(height: int, width: int, params: TVL1Params, limits: Limits) -> int:
    """Return how many frame pairs of this size half of the free memory holds; 0 where it does not hold two frames."""
    each = pair_bytes(height, width, params, limits)
    # A batch has a frame more than it has pairs.
    room = limits.memory_bytes // 2 // each - 1
    return int(max(0, min(room, PLANES_ON_GRID // 2)))
