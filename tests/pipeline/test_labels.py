"""`label_rows` against plain loops, flips against recomputation, statistics against labels, and the registries."""

import json
from collections.abc import Iterator
from itertools import islice, pairwise
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from tests import naive
from vstats.kernels import patterns, profiles
from vstats.kernels.errors import InputError
from vstats.kernels.measure import Measurements
from vstats.kernels.patterns import Mask, Pattern
from vstats.kernels.rules import Column, Statistic
from vstats.pipeline import families, labels
from vstats.pipeline.decode import decode_frames
from vstats.pipeline.labels import LabelConfig, label_rows, rebuild_labels, schema

pytestmark = pytest.mark.matrix

Rows = list[tuple[int, int, bool]]
SMALL = LabelConfig(clip_length=3, working=(10, 11), crop=8, statistics=True)


def small_flow(fields: int = 2, height: int = 10, width: int = 11) -> st.SearchStrategy[Any]:
    """Flow with ties, stillness, steps, denormals and values far beyond any motion."""
    values = [
        st.sampled_from([0.0, 1.0]),
        st.sampled_from(
            [0.0, -0.0, 1.0, -1.0, 0.25, 2048.0, 2049.0, -1e30, 3.4e38, 1e-45, 2.0**-17, 2.0**-16]
        ),
        st.floats(-30, 30, width=32),
    ]
    shape = (fields, height, width, 2)
    return st.one_of(
        st.floats(-9, 9, width=32).map(lambda v: np.full(shape, np.float32(v))),
        *(hnp.arrays(np.float32, shape, elements=v) for v in values),
    )


def small_rgb(frames: int = 3, height: int = 10, width: int = 11) -> st.SearchStrategy[Any]:
    """Frames of one colour, of few colours, and of any."""
    shape = (frames, height, width, 3)
    return st.one_of(
        st.integers(0, 255).map(lambda v: np.full(shape, v, np.uint8)),
        hnp.arrays(np.uint8, shape, elements=st.sampled_from([0, 127, 128, 255])),
        hnp.arrays(np.uint8, shape),
    )


def small_rows() -> st.SearchStrategy[Rows]:
    return st.lists(st.tuples(st.integers(0, 2), st.integers(0, 3), st.booleans()), min_size=1, max_size=3)


def by_loops(names: Any) -> dict[str, tuple[Any, bool]]:
    """Return patterns for the plain loops: the papers' from their own loops, others from their masks."""
    found = {}
    for name in names:
        p = patterns.get(name)
        loops = naive.PATTERNS.get(name)
        pixels = loops[0] if loops else lambda size, p=p: [np.argwhere(m).tolist() for m in p.masks(size)]
        found[name] = (pixels, p.compare == "mean")
    return found


def assert_equals_the_plain_loops(rgb: Any, flow: Any, rows: Rows, config: LabelConfig) -> None:
    arrays, refusals = label_rows(rgb, flow, rows, config)
    for i, (y, x, flip) in enumerate(rows):
        wanted, statistics, margins = naive.clip(
            rgb, flow, (y, x), config.crop, flip, config.profile, by_loops(config.patterns)
        )
        still = config.profile == "mas-released" and 0 in (
            wanted["motion/pattern_1"][0],
            wanted["motion/pattern_1"][2],
        )
        assert (refusals[i] is not None) == still
        for group, values in wanted.items():
            assert arrays[f"labels/{group}"][i].tolist() == ([0] * len(values) if still else values), group
        for name, values in statistics.items():
            np.testing.assert_array_equal(arrays[f"statistics/{name}"][i], values, err_msg=name)
        for group, values in margins.items():
            if not still:
                np.testing.assert_array_equal(arrays[f"margins/{group}"][i], values, err_msg=group)


def assert_same(a: dict[str, Any], b: dict[str, Any]) -> None:
    assert list(a) == list(b)
    for name, array in a.items():
        assert array.dtype == b[name].dtype
        assert array.tobytes() == b[name].tobytes(), name


@pytest.fixture
def thirds() -> Iterator[str]:
    """A pattern and a family, each one function, registered and nowhere else mentioned."""

    @patterns.pattern("thirds")
    def thirds(size: int) -> Mask:
        """3 x 3 cells, row by row."""
        if size % 3:
            raise InputError(f"a crop of {size} pixels has no 3 x 3 cells; choose a multiple of 3")
        y, x = np.indices((size, size)) * 3 // size
        return np.stack([(y == k // 3) & (x == k % 3) for k in range(9)])

    @families.family(
        "brightness",
        columns=(
            Column(name="bright_loc", of="level", meaning="brightest block"),
            Column(name="dark_loc", of="level", pick="smallest", meaning="darkest block"),
        ),
        statistics=(Statistic(name="level", shape=("blocks",), dtype="float32", meaning="sum of red"),),
        global_columns=(Column(name="bright_frame", of="frames", meaning="brightest frame but the last"),),
        global_statistics=(Statistic(name="frames", shape=("flows",), dtype="uint32", meaning="sum of red"),),
    )
    def brightness(m: Measurements, pattern: Pattern | None) -> dict[str, Any]:
        """Which block is brightest."""
        red = np.stack([m.rgb(i)[..., 0] for i in range(len(m.rows))]).astype(np.uint32)
        if pattern is None:
            return {"frames": red[:, :-1].sum(axis=(2, 3), dtype=np.uint32)}
        level = [red[:, :, mask].sum(axis=(1, 2)) for mask in m.masks(pattern)]
        return {"level": np.stack(level, axis=1).astype(np.float32)}

    yield "thirds"
    patterns.unregister("thirds")
    families.unregister("brightness")


@settings(max_examples=40, deadline=None)
@given(rgb=small_rgb(), flow=small_flow(), rows=small_rows())
def test_made_clips_equal_the_plain_loops(rgb: Any, flow: Any, rows: Rows) -> None:
    assert_equals_the_plain_loops(rgb, flow, rows, SMALL)


@pytest.mark.parametrize("profile", ["sts-released", "mas-released"])
def test_released_profiles_equal_the_plain_loops(profile: str) -> None:
    config = LabelConfig(profile=profile, working=(113, 115), statistics=True)
    rng = np.random.default_rng(3)
    rgb = rng.choice(np.array([0, 20, 200], np.uint8), (16, 113, 115, 3))
    flow = rng.choice(np.array([0, 0, -25, 0.1, 3.3], np.float32), (config.flows_needed, 113, 115, 2))
    assert_equals_the_plain_loops(rgb, flow, [(1, 2, True)], config)


def test_a_still_row_is_refused_and_its_neighbour_labelled() -> None:
    config = LabelConfig(profile="mas-released", working=(112, 240))
    rgb, flow = np.zeros((16, 112, 240, 3), np.uint8), np.zeros((15, 112, 240, 2), np.float32)
    flow[:, 50, 200] = 9
    arrays, refusals = label_rows(rgb, flow, [(0, 0, False), (0, 128, False), (0, 0, True)], config)
    assert refusals[1] is None
    assert (
        refusals[0] == refusals[2] == "no motion in u anywhere in the crop; mas-released has no label for it"
    )
    for values in arrays.values():
        assert not values[[0, 2]].any()
        assert values[1].all()


@settings(max_examples=60, deadline=None)
@given(rgb=small_rgb(), flow=small_flow(), y=st.integers(0, 2), x=st.integers(0, 3))
def test_a_derived_flip_is_the_recomputed_flip(rgb: Any, flow: Any, y: int, x: int) -> None:
    derived, _ = label_rows(rgb, flow, [(y, x, True)], SMALL)
    mirrored = flow[:, :, ::-1] * np.array([-1, 1], np.float32)
    recomputed, _ = label_rows(rgb[:, :, ::-1], mirrored, [(y, 3 - x, False)], SMALL)
    assert_same(derived, recomputed)


@pytest.mark.parametrize("profile", ["sts-released", "mas-released"])
@settings(max_examples=6, deadline=None)
@given(seed=st.integers(0, 1000), levels=st.integers(1, 40))
def test_a_derived_flip_is_the_recomputed_flip_in_released_profiles(
    profile: str, seed: int, levels: int
) -> None:
    config = LabelConfig(profile=profile, working=(112, 114), statistics=True)
    rng = np.random.default_rng(seed)
    rgb = rng.integers(0, 4, (16, 112, 114, 3), np.uint8) * np.uint8(85)
    flow = rng.integers(0, levels, (config.flows_needed, 112, 114, 2)).astype(np.float32) / np.float32(7)
    derived, refused = label_rows(rgb, flow, [(0, 0, True)], config)
    recomputed, refused_there = label_rows(rgb[:, :, ::-1], flow[:, :, ::-1], [(0, 2, False)], config)
    assert refused == refused_there
    assert_same(derived, recomputed)


@settings(max_examples=30, deadline=None)
@given(rgb=small_rgb(), flow=small_flow(), rows=small_rows(), order=st.randoms(use_true_random=False))
def test_rows_do_not_depend_on_their_company(rgb: Any, flow: Any, rows: Rows, order: Any) -> None:
    together, _ = label_rows(rgb, flow, rows, SMALL)
    places = list(range(len(rows)))
    order.shuffle(places)
    shuffled, _ = label_rows(rgb, flow, [rows[i] for i in places], SMALL)
    assert_same({name: array[places] for name, array in together.items()}, shuffled)
    alone, _ = label_rows(rgb, flow, rows[:1], SMALL)
    assert_same({name: array[:1] for name, array in together.items()}, alone)


@settings(max_examples=40, deadline=None)
@given(rgb=small_rgb(), flow=small_flow(), rows=small_rows())
def test_labels_are_rebuilt_from_statistics_alone(rgb: Any, flow: Any, rows: Rows) -> None:
    arrays, _ = label_rows(rgb, flow, rows, SMALL)
    statistics = {name: array for name, array in arrays.items() if name.startswith("statistics/")}
    rebuilt = rebuild_labels(statistics, SMALL)
    assert_same(
        {n: a for n, a in arrays.items() if n not in statistics},
        {n: rebuilt[n] for n in arrays if n in rebuilt},
    )


def test_rebuilding_says_what_it_lacks() -> None:
    with pytest.raises(InputError, match="statistics/motion/pattern_1/u_magnitude is missing"):
        rebuild_labels({}, SMALL)
    with pytest.raises(InputError, match="most frequent exact colour"):
        rebuild_labels({}, LabelConfig(profile="sts-released"))


@pytest.mark.parametrize(
    ("name", "start", "working", "crop", "flip"),
    [
        ("ucf101_v_SoccerJuggling_g23_c01.avi", 0, (128, 171), 112, False),
        ("hmdb51_RATRACE_wave.avi", 10, (64, 86), 56, True),
        ("part_0_32frames.mp4", 3, (64, 86), 56, False),
        ("gif_newtonscradle.gif", 0, (64, 86), 56, True),
    ],
)
def test_real_clips_equal_the_plain_loops(
    data_dir: Path, name: str, start: int, working: tuple[int, int], crop: int, flip: bool
) -> None:
    height, width = working
    decoded = [rgb for rgb, _ in islice(decode_frames(str(data_dir / "videos" / name)), start, start + 16)]
    rgb = np.stack([cv2.resize(f, (width, height), interpolation=cv2.INTER_AREA) for f in decoded])
    gray = [cv2.cvtColor(f, cv2.COLOR_RGB2GRAY) for f in rgb]
    flow = np.stack(
        [cv2.calcOpticalFlowFarneback(a, b, None, 0.5, 3, 9, 3, 5, 1.1, 0) for a, b in pairwise(gray)]
    )
    config = LabelConfig(working=working, crop=crop, statistics=True)
    row = ((height - crop) // 2, (width - crop) // 2 + 3, flip)
    assert_equals_the_plain_loops(rgb, flow.astype(np.float32), [row], config)


@pytest.mark.parametrize(
    ("length", "working", "crop"), [(32, (256, 342), 224), (64, (256, 342), 224), (255, (16, 24), 16)]
)
def test_the_papers_larger_settings(length: int, working: tuple[int, int], crop: int) -> None:
    config = LabelConfig(clip_length=length, working=working, crop=crop, statistics=True)
    rgb = np.full((length, *working, 3), 90, np.uint8)
    flow = np.zeros((length - 1, *working, 2), np.float32)
    flow[-1, crop - 3 : crop, : crop // 4] = 2  # lower left cell, in the last field alone
    arrays, _ = label_rows(rgb, flow, [(0, 0, False), (0, 0, True)], config)
    assert arrays["labels/motion/pattern_1"][:, 0].tolist() == [13, 16]
    assert arrays["labels/motion/pattern_2"][:, 0].tolist() == [4, 4]
    assert arrays["labels/motion/global"].tolist() == [[length - 1] * 2] * 2
    assert arrays["statistics/motion/global/u_frames"].shape == (2, length - 1)
    assert arrays["statistics/appearance/global/colours"][0].sum() == length * crop * crop


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"crop": 100}, "a crop of 100 pixels does not divide into rings"),
        ({"crop": 136}, "a crop of 136x136 is larger than the working frame of 128x171"),
        ({"crop": 0}, "whole number of pixels above 0"),
        ({"clip_length": 1}, "a clip of 1 frames"),
        ({"clip_length": 256}, "a clip of 256 frames"),
        ({"profile": "sts-released", "clip_length": 32}, "defined for clips of 16 frames and crops of 112"),
        ({"profile": "mas-released", "crop": 104}, "defined for clips of 16 frames and crops of 112"),
        ({"profile": "mas-released", "families": ("appearance",)}, "has the families motion, not appearance"),
        ({"profile": "sts-released", "patterns": ("pattern_1",)}, "exactly the patterns"),
        ({"profile": "mas"}, "no profile is called 'mas'"),
        ({"families": ("depth",)}, "no family is called 'depth'; known: motion, appearance"),
        ({"patterns": ("pattern_4",)}, "no pattern is called 'pattern_4'"),
        ({"patterns": ()}, "name at least one"),
        ({"families": ("motion", "motion")}, "none twice"),
    ],
)
def test_a_configuration_that_cannot_be_is_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        LabelConfig(**options)


@pytest.mark.parametrize(
    ("rgb", "flow", "rows", "message"),
    [
        (
            (2, 10, 11, 3),
            (2, 10, 11, 2),
            [],
            r"rgb is uint8 \[2, 10, 11, 3\]; expected uint8 \[3, 10, 11, 3\]",
        ),
        ((3, 10, 12, 3), (2, 10, 11, 2), [], "rgb is uint8"),
        (
            (3, 10, 11, 3),
            (3, 10, 11, 2),
            [],
            r"flow is float32 \[3, 10, 11, 2\]; expected float32 \[2, 10, 11, 2\]",
        ),
        (
            (3, 10, 11, 3),
            (2, 10, 11, 2),
            [(0, 0, False), (3, 0, False)],
            r"\(y, x\) = \(3, 0\) does not lie in",
        ),
        ((3, 10, 11, 3), (2, 10, 11, 2), [(0, -1, True)], "does not lie in the working frame of 10x11"),
    ],
)
def test_arrays_that_do_not_fit_are_refused(rgb: Any, flow: Any, rows: Rows, message: str) -> None:
    with pytest.raises(InputError, match=message):
        label_rows(np.zeros(rgb, np.uint8), np.zeros(flow, np.float32), rows, SMALL)


def test_no_rows_are_no_rows() -> None:
    arrays, refusals = label_rows(
        np.zeros((3, 10, 11, 3), np.uint8), np.zeros((2, 10, 11, 2), np.float32), [], SMALL
    )
    assert refusals == []
    assert {name: array.shape for name, array in arrays.items()} == {
        s.name: (0, *s.shape) for s in schema(SMALL)
    }


@pytest.mark.parametrize("profile", ["sts", "sts-released", "mas-released"])
@pytest.mark.parametrize("statistics", [False, True])
def test_rows_are_what_the_schema_says(profile: str, statistics: bool) -> None:
    config = LabelConfig(profile=profile, statistics=statistics)
    rng = np.random.default_rng(0)
    rgb = rng.integers(0, 256, (config.frames_needed, 128, 171, 3), np.uint8)
    flow = rng.normal(size=(config.flows_needed, 128, 171, 2)).astype(np.float32)
    arrays, _ = label_rows(rgb, flow, [(0, 0, False), (16, 59, True)], config)
    specs = schema(config)
    assert list(arrays) == [s.name for s in specs]
    for s in specs:
        assert arrays[s.name].shape == (2, *s.shape)
        assert arrays[s.name].dtype == s.dtype
        assert arrays[s.name].flags.c_contiguous
        np.asarray(s.fill).astype(s.dtype)
        if s.name.startswith("margins/"):
            assert ((arrays[s.name] >= 0) & (arrays[s.name] <= 1)).all()
        if s.name.startswith("labels/"):
            assert len(s.labels) == s.shape[0]
            assert 0 < arrays[s.name].min() <= arrays[s.name].max() < s.fill
    count = sum(s.shape[0] for s in specs if s.name.startswith("labels/"))
    assert count == (14 if profile == "mas-released" else 27)


def test_a_definition_changes_with_whatever_decides_a_label() -> None:
    plain = LabelConfig().definition()
    assert json.loads(json.dumps(plain)) == plain
    assert LabelConfig(statistics=True).definition() == plain
    others: list[dict[str, Any]] = [
        {"crop": 104},
        {"clip_length": 17},
        {"patterns": ("pattern_1",)},
        {"families": ("motion",)},
    ]
    for options in others:
        assert LabelConfig(**options).definition() != plain
    masks = np.ones((1, 112, 112), bool)
    found = []
    for _ in range(2):
        patterns.pattern("mine")(lambda size, masks=masks: masks)
        try:
            found.append(LabelConfig().definition()["patterns"]["mine"])
        finally:
            patterns.unregister("mine")
        masks = np.tril(masks)
    assert found[0] != found[1]


def test_what_a_clip_needs() -> None:
    needs = {p: (labels.flows_needed(p, 16), labels.frames_needed(p, 16)) for p in profiles.names()}
    assert needs == {"sts": (15, 16), "sts-released": (16, 17), "mas-released": (15, 16)}


def test_a_new_pattern_and_family_need_no_other_edit(thirds: str) -> None:
    config = LabelConfig(clip_length=3, working=(26, 30), crop=24, statistics=True)
    names = {s.name: s.shape for s in schema(config)}
    assert names["labels/motion/thirds"] == names["labels/appearance/thirds"] == (4,)
    assert names["labels/brightness/thirds"] == names["margins/brightness/pattern_1"] == (2,)
    assert names["statistics/brightness/thirds/level"] == (9,)
    assert names["labels/brightness/global"] == (1,)
    rgb = np.full((3, 26, 30, 3), 50, np.uint8)
    flow = np.zeros((2, 26, 30, 2), np.float32)
    rgb[1, 18, 4], flow[:, 18, 4] = 255, 1
    rows = [(1, 2, False), (1, 2, True)]
    arrays, _ = label_rows(rgb, flow, rows, config)
    assert arrays["labels/brightness/thirds"].tolist() == [[7, 1], [9, 1]]
    assert arrays["labels/brightness/global"].tolist() == [[2], [2]]
    assert arrays["labels/motion/thirds"][:, 0].tolist() == [7, 9]
    assert arrays["labels/appearance/thirds"][:, 0].tolist() == [7, 9]
    assert_equals_the_plain_loops(rgb, flow, rows, config)
    rebuilt = rebuild_labels({n: a for n, a in arrays.items() if n.startswith("statistics/")}, config)
    np.testing.assert_array_equal(rebuilt["labels/brightness/thirds"], arrays["labels/brightness/thirds"])
    assert families.get("brightness").description == "Which block is brightest."
    # The released profiles stay what they were published as.
    assert LabelConfig(profile="sts-released").patterns == patterns.STANDARD
    assert LabelConfig(profile="sts-released").families == ("motion", "appearance")


@settings(max_examples=10, deadline=None)
@given(rgb=small_rgb(), flow=small_flow(), rows=small_rows())
def test_a_pattern_that_is_not_its_own_mirror_image_is_mirrored_all_the_same(
    rgb: Any, flow: Any, rows: Rows
) -> None:
    @patterns.pattern("lopsided", compare="mean")
    def lopsided(size: int) -> Mask:
        """The left quarter, the top half, one pixel."""
        masks = np.zeros((3, size, size), bool)
        masks[0, :, : size // 4] = masks[1, : size // 2] = masks[2, 1, 2] = True
        return masks

    try:
        config = LabelConfig(clip_length=3, working=(10, 11), crop=8, statistics=True, patterns=("lopsided",))
        assert_equals_the_plain_loops(rgb, flow, rows, config)
    finally:
        patterns.unregister("lopsided")


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("motion", {}, "registered already"),
        ("Depth", {}, "lower-case"),
        ("depth", {}, "has no columns"),
        ("depth", {"columns": [Column(name="a", of="b", meaning="")]}, "is of 'b', which is no statistic"),
        (
            "depth",
            {"columns": [Column(name="a", of="s", within="z", meaning="")]},
            "within 'z', no earlier column",
        ),
        ("depth", {"columns": [Column(name="a", of="s", pick="best", meaning="")]}, "picks 'best'"),
        ("depth", {"columns": [Column(name="a", of="s", meaning="")] * 2}, "two columns are called 'a'"),
    ],
)
def test_a_family_that_cannot_be_is_refused(name: str, options: dict[str, Any], message: str) -> None:
    statistics = [Statistic(name="s", shape=("blocks",), dtype="float32", meaning="")]
    with pytest.raises(InputError, match=message):
        families.family(name, **options, statistics=statistics)
    with pytest.raises(InputError, match="float32 or uint32"):
        families.family(
            "depth",
            columns=[Column(name="a", of="s", meaning="")],
            statistics=[Statistic(name="s", shape=(1,), dtype="float64", meaning="")],
        )
    with pytest.raises(InputError, match="stays"):
        families.unregister("motion")


def test_a_family_that_breaks_its_word_is_named() -> None:
    @families.family(
        "liar",
        columns=(Column(name="a", of="s", meaning=""),),
        statistics=(Statistic(name="s", shape=("blocks",), dtype="float32", meaning=""),),
    )
    def liar(m: Measurements, pattern: Pattern | None) -> dict[str, Any]:
        return {"s": np.zeros((len(m.rows), 3), np.float32)}

    try:
        config = LabelConfig(clip_length=3, working=(10, 11), crop=8, statistics=True, families=("liar",))
        with pytest.raises(InputError, match=r"s is float32 \[1, 3\]; its family declares float32 \[1, 16\]"):
            label_rows(
                np.zeros((3, 10, 11, 3), np.uint8),
                np.zeros((2, 10, 11, 2), np.float32),
                [(0, 0, False)],
                config,
            )
    finally:
        families.unregister("liar")


def test_what_a_family_sees_of_a_mirrored_row() -> None:
    rng = np.random.default_rng(1)
    rgb = rng.integers(0, 256, (3, 10, 11, 3), np.uint8)
    flow = rng.normal(size=(2, 10, 11, 2)).astype(np.float32)
    standard = tuple(patterns.get(name) for name in patterns.STANDARD)
    m = profiles.measure(rgb, flow, [(1, 2, True)], profile=profiles.get("sts"), patterns=standard, size=8)
    np.testing.assert_array_equal(m.rgb(0), rgb[:, 1:9, 9:1:-1])
    np.testing.assert_array_equal(m.flow(0), flow[:, 1:9, 9:1:-1] * np.array([-1, 1], np.float32))
    assert m.accumulated.shape == (2, 10, 11, 2)
