"""Options: checked, kept whole through JSON, and named when they differ."""

from dataclasses import replace
from typing import Any

import pytest

from vstats.kernels.contract import TVL1Params
from vstats.kernels.errors import InputError
from vstats.pipeline.config import ExtractConfig, RunConfig


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"profile": "mas"}, "profile is 'mas'"),
        ({"crops": "random:0"}, "random:K"),
        ({"crops": "middle"}, "center, corners, five"),
        ({"flow_size": "128"}, "working, source, short:N or HxW"),
        ({"clips_per_video": 0}, "exactly one"),
        ({"clip_step": 5}, "exactly one"),
        ({"clip_length": 1}, "at least 2"),
        ({"frame_stride": 0}, "at least 1"),
        ({"crop_size": 200}, "larger than the working frame"),
        ({"save": ("frames",)}, "clips, flow, statistics"),
        ({"flow": "raft"}, "opencv-tvl1"),
        ({"short": "pad"}, "skip, loop"),
        ({"damaged": "mend"}, "keep, skip"),
    ],
)
def test_a_wrong_option_is_refused_with_what_is_allowed(options: dict[str, Any], words: str) -> None:
    with pytest.raises(InputError, match=words):
        ExtractConfig(**options)


def test_run_options_are_checked() -> None:
    with pytest.raises(InputError, match="workers is -1"):
        RunConfig(workers=-1)
    with pytest.raises(InputError, match="shard_size is -2"):
        RunConfig(shard_size=-2)


def test_json_round_trip_and_fingerprint() -> None:
    config = ExtractConfig(
        profile="sts-released",
        save=("statistics", "clips"),
        tvl1=TVL1Params(warps=3),
        crops="random:4",
        seed=9,
    )
    again = ExtractConfig.from_json(config.to_json())
    assert again == config
    assert again.fingerprint() == config.fingerprint()
    assert again.save == ("clips", "statistics")


@pytest.mark.parametrize(
    "change",
    [
        {"profile": "sts-released"}, {"clip_length": 17}, {"frame_stride": 2}, {"clips_per_video": 2}, {"crops": "five"},
        {"flip": "both"}, {"seed": 1}, {"short": "loop"}, {"damaged": "skip"}, {"flow": "dis"}, {"flow_size": "source"},
        {"working_width": 172}, {"crop_size": 96}, {"save": ("clips",)}, {"tvl1": TVL1Params(epsilon=0.02)},
    ],
)  # fmt: skip
def test_every_option_changes_the_fingerprint_and_is_named(change: dict[str, Any]) -> None:
    config = ExtractConfig()
    other = replace(config, **change)
    assert other.fingerprint() != config.fingerprint()
    differences = config.differences(other)
    assert any(line.startswith(next(iter(change))) for line in differences)


def test_flow_size_follows_the_profile_unless_stated() -> None:
    assert ExtractConfig().flow_size == "working"
    assert ExtractConfig(profile="mas-released").flow_size == "short:256"
    assert ExtractConfig(profile="mas-released", flow_size="source").flow_size == "source"
    assert ExtractConfig(flow_size="working") == ExtractConfig()
