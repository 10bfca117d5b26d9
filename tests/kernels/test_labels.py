"""`ops.clip_labels`: what it takes, what it refuses, and that a crop and a flip mean what they say."""

from typing import Any

import numpy as np
import pytest

from vstats.kernels import ops, rules
from vstats.kernels.errors import InputError, NoLabel
from vstats.kernels.rules import Column

pytestmark = pytest.mark.matrix


@pytest.fixture(scope="module")
def arrays() -> tuple[Any, Any]:
    """A frame with a bright patch, and one flow that differs from nothing only in the lower left cell."""
    rgb = np.full((16, 128, 171, 3), 40, np.uint8)
    rgb[:, 8:120, 29:141] = (200, 30, 30)
    for t in range(16):
        rgb[t, 100:110, 35:45] = 16 * t
    flow = np.zeros((16, 128, 171, 2), np.float32)
    flow[:, 100:110, 35:45, 0] = 3
    flow[6, 100:110, 35:45, 0] = 5
    return rgb, flow


def test_labels_are_what_one_sees(arrays: tuple[Any, Any]) -> None:
    rgb, flow = arrays
    labels = ops.clip_labels(rgb, flow[:15], crop=(8, 29))
    seen = dict(zip(labels.columns, labels.values.tolist(), strict=True))
    assert seen["motion/pattern_1/u_loc"] == 13  # lower left cell
    assert seen["motion/pattern_2/u_loc"] == 4  # outermost ring
    assert seen["motion/pattern_3/u_loc"] == 5  # left-lower
    assert seen["motion/global/u_frame"] == 7
    assert (
        seen["motion/pattern_1/v_loc"] == seen["motion/pattern_1/v_ori"] == seen["motion/global/v_frame"] == 0
    )
    assert seen["appearance/pattern_1/div_loc"] == 13
    assert seen["appearance/pattern_1/stable_loc"] == 1
    assert seen["appearance/global/dominant_col"] == seen["appearance/pattern_1/stable_col"] == 7
    assert labels.values.dtype == np.uint8
    assert labels.margins.shape == (27,)
    flipped = ops.clip_labels(rgb, flow[:15], crop=(8, 29), flip=True)
    seen = dict(zip(flipped.columns, flipped.values.tolist(), strict=True))
    assert seen["motion/pattern_1/u_loc"] == seen["appearance/pattern_1/div_loc"] == 16
    assert seen["motion/pattern_3/u_loc"] == 8


@pytest.mark.parametrize(
    ("profile", "frames", "fields", "count"),
    [
        ("sts", 16, 15, 27), ("sts", 16, 16, 27), ("sts", 2, 1, 27), ("sts", 3, 3, 27),
        ("sts-released", 16, 16, 27), ("sts-released", 17, 16, 27),
        ("mas-released", 16, 15, 14), ("mas-released", 16, 16, 14),
    ],
)  # fmt: skip
def test_frames_and_fields_that_are_taken(
    arrays: tuple[Any, Any], profile: str, frames: int, fields: int, count: int
) -> None:
    rgb, flow = arrays[0], arrays[1].copy()
    flow[..., 1] = flow[..., 0]
    rgb = np.concatenate([rgb, rgb[:1]])[:frames]
    assert ops.clip_labels(rgb, flow[:fields], profile, crop=(8, 29)).values.shape == (count,)


@pytest.mark.parametrize(
    ("profile", "frames", "fields", "message"),
    [
        ("sts", 16, 14, "flow has 14 fields; profile 'sts' needs 15 for 16 frames"),
        ("sts", 12, 16, "flow has 16 fields"),
        ("sts", 1, 1, "a clip of 1 frames"),
        ("sts-released", 16, 15, r"needs 16 for 16 frames \(one leads out of the last frame\)"),
        ("sts-released", 15, 15, "defined for clips of 16 frames"),
        ("sts-rel", 16, 15, "no profile is called 'sts-rel'; known: sts, sts-released, mas-released"),
    ],
)
def test_frames_and_fields_that_are_not(
    arrays: tuple[Any, Any], profile: str, frames: int, fields: int, message: str
) -> None:
    with pytest.raises(InputError, match=message):
        ops.clip_labels(arrays[0][:frames], arrays[1][:fields], profile, crop=(8, 29))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"crop": None}, r"frames are 128x171 and the crop is 112x112; say where with crop=\(y, x\)"),
        (
            {"crop": (17, 0)},
            r"a crop of 112x112 at \(y, x\) = \(17, 0\) does not lie inside frames of 128x171",
        ),
        ({"crop": (0, -1)}, "does not lie inside"),
        ({"crop": (0.5, 1)}, r"crop is \(0.5, 1\); expected 2 whole numbers"),
        ({"crop": 8}, "crop is 8; expected 2 whole numbers"),
        ({"size": 112.0}, "expected 1 whole number$"),
        ({"size": 100}, "a crop of 100 pixels does not divide into rings.*multiple of 8"),
        ({"size": 104, "profile": "mas-released"}, "crops of 112 pixels"),
        ({"rgb": np.zeros((16, 128, 171, 3), np.int16)}, r"rgb is int16 \[16, 128, 171, 3\]; expected uint8"),
        ({"rgb": np.zeros((16, 128, 171), np.uint8)}, "expected uint8"),
        ({"flow": np.zeros((15, 128, 171, 2))}, r"flow is float64 .* expected float32"),
        ({"flow": np.zeros((15, 128, 170, 2), np.float32)}, "one height and width"),
        ({"flow": np.full((15, 128, 171, 2), np.nan, np.float32)}, "must be finite"),
    ],
)
def test_what_does_not_fit_is_refused_in_words(
    arrays: tuple[Any, Any], change: dict[str, Any], message: str
) -> None:
    wanted: dict[str, Any] = {"rgb": arrays[0], "flow": arrays[1][:15], "crop": (8, 29), **change}
    with pytest.raises(InputError, match=message):
        ops.clip_labels(**wanted)


def test_a_clip_without_motion_is_labelled_as_each_profile_says() -> None:
    rgb, flow = np.full((16, 112, 112, 3), 200, np.uint8), np.full((16, 112, 112, 2), np.float32(1.5))
    appearance = [1, 4, 1, 4] * 3 + [4]
    assert ops.clip_labels(rgb, flow).values.tolist() == [0] * 14 + appearance
    # The slip counts black pixels, but never most of them here.
    released = ops.clip_labels(rgb, flow, "sts-released").values.tolist()
    assert released == [0] * 4 + [1] * 10 + appearance
    with pytest.raises(NoLabel, match="no motion in u anywhere in the crop"):
        ops.clip_labels(rgb, flow, "mas-released")


def test_memory_order_and_permission_change_nothing(arrays: tuple[Any, Any]) -> None:
    rgb, flow = arrays[0], arrays[1][:15]
    wanted = ops.clip_labels(rgb, flow, crop=(8, 29)).values.tolist()
    frozen = rgb.copy(), flow.copy()
    for array in frozen:
        array.flags.writeable = False
    turned = np.asfortranarray(rgb), np.asfortranarray(flow)
    strided = np.repeat(rgb, 2, axis=1)[:, ::2], np.repeat(flow, 2, axis=2)[:, :, ::2]
    for rgb_there, flow_there in (frozen, turned, strided):
        assert ops.clip_labels(rgb_there, flow_there, crop=(8, 29)).values.tolist() == wanted


@pytest.mark.parametrize(
    ("values", "pick", "label", "margin"),
    [
        ([1, 4, 2], "largest", 2, 0.5),
        ([3, 3, 1], "largest", 1, 0),
        ([0, 2, 0], "largest", 2, 1),
        ([0, 0, 0], "largest", 0, 0),
        ([5], "largest", 1, 0),
        ([4, 1, 2], "smallest", 2, 0.5),
        ([4, 1, 1], "smallest", 2, 0),
        ([0, 1, 2], "smallest", 1, 1),
    ],
)
def test_winner_and_margin(values: list[float], pick: str, label: int, margin: float) -> None:
    column = Column(name="c", of="s", pick=pick, zero_is_none=True, meaning="")
    if pick == "smallest":
        column = Column(name="c", of="s", pick=pick, meaning="")
    labels, margins = rules.decide([column], {"s": np.array([values, values], np.float32)})
    assert labels.tolist() == [[label], [label]]
    assert margins.tolist() == [[np.float32(margin)]] * 2


def test_a_label_within_an_undefined_block_is_undefined() -> None:
    columns = [
        Column(name="loc", of="sum", zero_is_none=True, meaning=""),
        Column(name="ori", of="bins", within="loc", meaning=""),
    ]
    statistics = {
        "sum": np.array([[0, 0], [1, 3]], np.float32),
        "bins": np.array([[[0, 0], [0, 0]], [[9, 0], [1, 2]]], np.float32),
    }
    labels, margins = rules.decide(columns, statistics)
    assert labels.tolist() == [[0, 0], [2, 2]]
    assert margins[0].tolist() == [0, 0]
    assert margins[1].tolist() == [np.float32(2) / np.float32(3), 0.5]
