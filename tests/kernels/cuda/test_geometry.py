"""How CUDA work is laid out: teams, bands, shared memory and batches, for any picture and any device."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vstats.kernels.contract import TVL1Params
from vstats.kernels.cuda.geometry import (
    SUMS_BYTES,
    Limits,
    SolveLaunch,
    band_bytes,
    band_height,
    blocks,
    pair_bytes,
    pairs_at_once,
    solve_launch,
)

H100 = Limits(shared_bytes=227 << 10, largest_team=8)
A100 = Limits(shared_bytes=163 << 10, largest_team=1)
SIDES = st.integers(1, 2000)


@given(height=SIDES, team=st.integers(1, 8))
def test_bands_are_even_and_cover_the_picture_and_no_more_than_needed(height: int, team: int) -> None:
    band = band_height(height, team)
    assert band % 2 == 0
    assert band * team >= height
    assert (band - 2) * team < height


@given(height=SIDES, width=SIDES, shared_kib=st.integers(2, 227), largest=st.integers(1, 8))
def test_the_smallest_team_that_holds_a_level_takes_it(
    height: int, width: int, shared_kib: int, largest: int
) -> None:
    limits = Limits(shared_bytes=shared_kib << 10, largest_team=largest)
    found = solve_launch(height, width, limits)
    assert 1 <= found.team <= largest
    assert found.shared_bytes <= limits.shared_bytes
    if found.kernel == "solve_shared":
        # Ten planes of the band, the row below for u and v, the row above for p12 and p22, and the sums.
        floats = 10 * found.band * width + 4 * width
        assert found.shared_bytes == 4 * floats + found.team * SUMS_BYTES
        assert all(band_bytes(height, width, team) > limits.shared_bytes for team in range(1, found.team))
    else:
        assert found.team == largest
        assert all(band_bytes(height, width, team) > limits.shared_bytes for team in range(1, largest + 1))


def test_the_papers_sizes_on_an_h100_and_an_a100() -> None:
    levels = [(128, 171), (102, 137), (82, 110), (66, 88), (53, 70)]
    found = [solve_launch(h, w, H100) for h, w in levels]
    assert [(f.kernel, f.team) for f in found] == [("solve_shared", n) for n in (4, 3, 2, 2, 1)]
    assert found[0] == SolveLaunch(kernel="solve_shared", team=4, band=32, shared_bytes=222640)
    assert solve_launch(256, 340, H100).kernel == "solve_global"
    assert solve_launch(256, 340, H100).team == 8
    # Without teams only what one block holds is solved in shared memory.
    assert [solve_launch(h, w, A100).kernel for h, w in levels] == ["solve_global"] * 4 + ["solve_shared"]


@given(
    height=st.integers(1, 600),
    width=st.integers(1, 600),
    memory_mib=st.integers(0, 80 << 10),
    limits=st.sampled_from([H100, A100]),
)
def test_a_batch_fits_half_of_the_free_memory(
    height: int, width: int, memory_mib: int, limits: Limits
) -> None:
    limits = Limits(
        shared_bytes=limits.shared_bytes, largest_team=limits.largest_team, memory_bytes=memory_mib << 20
    )
    params = TVL1Params()
    pairs = pairs_at_once(height, width, params, limits)
    each = pair_bytes(height, width, params, limits)
    # The least: frames, flow and room at the finest level.
    assert each >= height * width * 4 * (1 + 4 + 6)
    assert 2 * pairs <= 65535
    assert pairs == 0 or (pairs + 1) * each <= (memory_mib << 20) // 2


@pytest.mark.parametrize(("things", "threads", "wanted"), [(0, 32, 0), (1, 32, 1), (32, 32, 1), (33, 32, 2)])
def test_every_thing_has_a_thread(things: int, threads: int, wanted: int) -> None:
    assert blocks(things, threads) == wanted
