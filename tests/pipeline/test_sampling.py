"""Orders are pure functions of (seed, epoch), fair, and can be taken up anywhere."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vstats.kernels.errors import InputError
from vstats.pipeline.errors import ConfigMismatch
from vstats.pipeline.sampling import EpochSampler, easiest, in_share, pace, shuffled, shuffled_by_shard


def test_the_order_is_written_in_stone() -> None:
    # Another order would break every run that is resumed with a newer version.
    assert shuffled(8, seed=0, epoch=0).tolist() == [6, 0, 3, 5, 4, 7, 1, 2]
    assert shuffled(8, seed=0, epoch=1).tolist() == [5, 4, 6, 2, 3, 7, 0, 1]
    assert shuffled(8, seed=1, epoch=0).tolist() == [7, 6, 5, 4, 2, 1, 0, 3]


def test_orders_of_other_seeds_and_epochs_share_nothing() -> None:
    orders = [shuffled(1000, seed=seed, epoch=epoch) for seed in (-1, 0, 1, 2**63) for epoch in (0, 1, 2)]
    for i, one in enumerate(orders):
        assert sorted(one.tolist()) == list(range(1000))
        for other in orders[:i]:
            assert (one == other).mean() < 0.01
            assert abs(np.corrcoef(one, other)[0, 1]) < 0.15


def test_every_row_is_as_likely_everywhere() -> None:
    places = np.stack([np.argsort(shuffled(10, seed=3, epoch=epoch)) for epoch in range(5000)])
    counts = np.stack([np.bincount(places[:, row], minlength=10) for row in range(10)])
    assert (abs(counts - 500) < 5 * np.sqrt(500)).all()


def test_by_shard_reads_few_shards_at_a_time_and_each_row_once() -> None:
    shards = np.repeat(np.arange(40), 25)
    order = shuffled_by_shard(shards, seed=0, epoch=0, window=4)
    assert sorted(order.tolist()) == list(range(1000))
    groups = shards[order].reshape(10, 100)
    assert all(len(set(group)) == 4 for group in groups.tolist())
    assert len({tuple(sorted(set(group))) for group in groups.tolist()} & {(0, 1, 2, 3)}) == 0
    within = order[:100]
    assert np.corrcoef(np.arange(100), within)[0, 1] < 0.5
    with pytest.raises(InputError, match="window is 0"):
        shuffled_by_shard(shards, seed=0, epoch=0, window=0)


def test_the_easiest_rows_move_most() -> None:
    motion = np.array([0.1, 0.5, 0.0, 0.5, 0.9], np.float32)
    assert easiest(motion, 1.0).tolist() == [4, 1, 3, 0, 2]
    assert easiest(motion, 0.5).tolist() == [4, 1, 3]
    with pytest.raises(InputError, match="share is 0"):
        easiest(motion, 0)
    assert [pace(epoch, start=0.5, full_at=2) for epoch in range(4)] == [0.5, 0.75, 1.0, 1.0]
    sampler = EpochSampler(5, 5, motion=motion, curriculum=(0.5, 1))
    assert sorted(next(iter(sampler))) == [1, 3, 4]
    sampler.set_epoch(1)
    assert sorted(next(iter(sampler))) == [0, 1, 2, 3, 4]


@settings(deadline=None, max_examples=60)
@given(
    n=st.integers(0, 40), batch=st.integers(1, 7), replicas=st.integers(1, 4), drop_last=st.booleans(),
    shuffle=st.booleans(), start=st.integers(0, 3),
)  # fmt: skip
def test_processes_share_an_epoch(
    n: int, batch: int, replicas: int, drop_last: bool, shuffle: bool, start: int
) -> None:
    def samplers() -> list[EpochSampler]:
        return [
            EpochSampler(n, batch, rank=r, replicas=replicas, drop_last=drop_last, shuffle=shuffle, seed=5)
            for r in range(replicas)
        ]

    whole = [list(sampler) for sampler in samplers()]
    assert [len(sampler) for sampler in samplers()] == [len(batches) for batches in whole]
    assert len({len(batches) for batches in whole}) == 1
    given_rows = [row for batches in whole for rows in batches for row in rows]
    if drop_last:
        assert len(given_rows) == len(set(given_rows)) == n // replicas // batch * batch * replicas
    else:
        assert set(given_rows) == set(range(n))
        assert len(given_rows) < n + replicas
    resumed = samplers()
    done = min(start, len(whole[0]))
    for sampler, batches in zip(resumed, whole, strict=True):
        sampler.load_state_dict(samplers()[0].state_dict(done))
        assert list(sampler) == batches[done:]


def test_a_state_goes_on_with_another_number_of_processes() -> None:
    one = EpochSampler(24, 4, seed=1, name="x")
    one.set_epoch(3)
    batches = list(one)
    two = [EpochSampler(24, 2, seed=1, name="x", rank=r, replicas=2) for r in range(2)]
    for sampler in two:
        sampler.load_state_dict(one.state_dict(2))
        assert sampler.epoch == 3
        sampler.set_epoch(3)  # as a training loop does: the state stays
    rest = [sorted(a + b) for a, b in zip(*two, strict=True)]
    assert rest == [sorted(batch) for batch in batches[2:]]
    two[0].set_epoch(4)
    assert len(list(two[0])) == 6


@pytest.mark.parametrize("change", [{"name": "y"}, {"seed": 2}, {"n": 25}])
def test_a_state_of_other_data_is_refused(change: dict[str, Any]) -> None:
    options: dict[str, Any] = {"n": 24, "batch_size": 4, "seed": 1, "name": "x"}
    state = EpochSampler(**options).state_dict(1)
    with pytest.raises(ConfigMismatch, match="was taken from other data"):
        EpochSampler(**{**options, **change}).load_state_dict(state)


@pytest.mark.parametrize("wrong", [{"batch_size": 0}, {"rank": 2, "replicas": 2}, {"rank": -1}])
def test_impossible_samplers_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(InputError):
        EpochSampler(**{"n": 3, "batch_size": 2, **wrong})


def test_holding_out_depends_on_the_key_alone() -> None:
    keys = [f"class {k % 5}/video {k}.mp4" for k in range(2000)]
    held = [key for key in keys if in_share(key, share=0.2)]
    assert 300 < len(held) < 500
    assert set(held) <= {key for key in keys if in_share(key, share=0.3)}
    assert held != [key for key in keys if in_share(key, share=0.2, seed=1)]
    assert not any(in_share(key, share=0) for key in keys)
    assert all(in_share(key, share=1) for key in keys)
