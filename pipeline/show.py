"""A picture of the labels of a row: computed from the video again, by the pipeline's own path."""

import difflib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from vstats.kernels import patterns, profiles
from vstats.pipeline import drawing, labels
from vstats.pipeline import store as stores
from vstats.pipeline.clips import Stopwatch
from vstats.pipeline.config import ExtractConfig
from vstats.pipeline.decoder import decoder_for
from vstats.pipeline.drawing import ALARM, FAINT, INK, ORANGE, TEAL, Band, Bars, Mark, Panel, Words
from vstats.pipeline.durable import write_durably
from vstats.pipeline.errors import DecodeError, UsageError
from vstats.pipeline.labels import LabelConfig
from vstats.pipeline.records import F32, U8, ArrayRecord, PlannedRow
from vstats.pipeline.report import COLOURS, DIRECTIONS
from vstats.pipeline.shard import label_config, read_clips
from vstats.pipeline.shards import rows_task
from vstats.pipeline.store import Array, Store

MAX_ROWS = 64
"""Rows that fit one contact sheet."""

STRIP = 8
"""Frames of a clip that a row's picture shows."""

BLOCK_NAMES = {"pattern_1": "cell", "pattern_2": "ring", "pattern_3": "triangle"}
AXES = {"u": "horizontal", "v": "vertical"}
COMPONENT_COLOURS = {"u": ORANGE, "v": TEAL}
_LOW, _HIGH = 45, 215
COLOUR_SAMPLES = tuple(
    (_HIGH if red else _LOW, _HIGH if green else _LOW, _HIGH if blue else _LOW)
    for red, green, blue in (
        (0, 0, 1),
        (0, 1, 1),
        (1, 0, 1),
        (1, 1, 1),
        (0, 0, 0),
        (0, 1, 0),
        (1, 0, 0),
        (1, 1, 0),
    )
)
"""A colour of each of the 8 classes, in the order of the labels."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Shown:
    """What was drawn: the file, its rows, and each label that was not found again as it is stored, in words."""

    path: str
    rows: tuple[int, ...]
    differences: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Scene:
    """What the labels of one row were read from, cropped and mirrored as the row is.

    Parameters
    ----------
    row, key, planned
        The row's number, its video and its place there.
    rgb : uint8 [T, S, S, 3]
        Frames.
    flow : float32 [F, S, S, 2]
        Flow in pixels per frame step, x right, y down, as it was computed.
    boundaries : float32 [2 (u, v), S, S, 2 (x, y)]
        Motion boundaries summed over the clip.
    frame_sums : float64 [2 (u, v), G]
        Boundary of each field of its own, summed over the crop, in pixels.
    stored : dict of str to uint8 [k]
        Labels by array name.
    margins : dict of str to float32 [k]
        Margins by the name of their label array; empty where the store has none.
    differences : tuple of str
        Labels that are not stored as they were found again.
    """

    row: int
    key: str
    planned: PlannedRow
    rgb: U8
    flow: F32
    boundaries: F32
    frame_sums: Array
    stored: dict[str, Array]
    margins: dict[str, Array]
    differences: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Unlabelled:
    """A row without labels, and why."""

    row: int
    key: str
    reason: str


def show(
    store: Store, output: str | Path, rows: range, *, sheet: bool = False, root: str | None = None
) -> Shown:
    """Draw one row, or several on a contact sheet, into a file.

    Parameters
    ----------
    store : Store
        The store; it need not be finished.
    output : path
        File to write, .png or .jpg; it appears whole or not at all.
    rows : range
        Consecutive rows: one, or with `sheet` at most `MAX_ROWS`.
    sheet : bool
        Draw a contact sheet.
    root : str, optional
        Where the videos are now; default: where they were when planned.

    Raises
    ------
    UsageError
        The suffix is no picture's, a row is not there or (unless on a sheet) has no labels, or the rows are too many.
    DecodeError
        A video is not there, has changed since it was planned, or cannot be read.
    StoreError
        The store or the disk refused.
    """
    output = Path(output)
    drawing.check_suffix(output)
    if not output.parent.is_dir():
        raise UsageError(f"{output.parent} is not there; make the folder first, or write elsewhere")
    _check_rows(store, rows)
    if sheet and len(rows) > MAX_ROWS:
        raise UsageError(
            f"{len(rows)} rows; at most {MAX_ROWS} fit one contact sheet. Choose some with --rows"
        )
    config = label_config(store.plan.config)
    found = list(scenes(store, rows, root=root))
    if sheet:
        image = drawing.draw_sheet([_tile(scene, config) for scene in found])
    else:
        scene = found[0]
        if isinstance(scene, Unlabelled):
            raise UsageError(f"row {scene.row} ({scene.key}) has no labels: {scene.reason}")
        image = drawing.draw_picture(_head(scene, store), _bands(scene, config))
    write_durably(output, drawing.encode(image, output))
    differences = tuple(
        f"row {scene.row}: {text}"
        for scene in found
        if isinstance(scene, Scene)
        for text in scene.differences
    )
    return Shown(path=str(output), rows=tuple(rows), differences=differences)


def rows_of_video(store: Store, key: str) -> range:
    """Return the rows of a video.

    Raises
    ------
    UsageError
        No video has this key (those that resemble it are named), or it has no rows (why is said).
    """
    keys = store.keys()
    if key not in keys:
        close = difflib.get_close_matches(key, keys, n=3, cutoff=0.6)
        # A key is a path; people remember how it ends.
        close = close or [k for k in keys if key.lower() in k.lower()][:3]
        hint = f"; did you mean {', '.join(close)}?" if close else f"; it has {len(keys)}, such as {keys[0]}"
        raise UsageError(f"{store.place} has no video {key!r}{hint}")
    number = keys.index(key)
    first, last = np.searchsorted(store.read("index/video"), [number, number + 1]).tolist()
    if first == last:
        video = store.videos[number]
        raise UsageError(f"{key} has no rows: {video.status} ({video.error})")
    return range(first, last)


def scenes(store: Store, rows: range, *, root: str | None = None) -> Iterator[Scene | Unlabelled]:
    """Yield what each of consecutive rows was labelled from, decoding every video once; those that failed not at all.

    Raises
    ------
    DecodeError
        A video is not there, has changed since it was planned, or cannot be read.
    """
    config = store.plan.config
    task = rows_task(store, -1, rows.start, rows.stop, root=root)
    wanted = label_config(config)
    names = [spec.name for spec in labels.schema(wanted) if spec.name in store.names()]
    status = store.read(stores.STATUS.name, rows.start, rows.stop)
    stored = {
        name: store.read(name, rows.start, rows.stop) for name in names if not name.startswith("statistics/")
    }
    at = 0
    for video in task.videos:
        mine = range(at, at + len(video.rows))
        at = mine.stop
        if not (status[mine.start : mine.stop] == stores.STATUS_OK).any():
            for k in mine:
                yield _unlabelled(store, rows[k], video.record.key, int(status[k]))
            continue
        k = mine.start
        try:
            for rgb, flow, planned in read_clips(video, config, Stopwatch(), decoder_for(None)):
                for row in planned:
                    if status[k] == stores.STATUS_OK:
                        one = {name: values[k] for name, values in stored.items()}
                        yield _scene(rows[k], video.record.key, row, rgb, flow, config, one)
                    else:
                        yield _unlabelled(store, rows[k], video.record.key, int(status[k]))
                    k += 1
        except DecodeError as error:
            if not (status[k : mine.stop] == stores.STATUS_OK).any():
                # It broke off here when it was labelled, too.
                for left in range(k, mine.stop):
                    yield _unlabelled(store, rows[left], video.record.key, int(status[left]))
                continue
            if error.stage != "find":
                raise
            raise DecodeError(
                f"{error}. Say with --root where the videos are now (they were under {store.plan.root})",
                stage="find",
            ) from error


def _check_rows(store: Store, rows: range) -> None:
    if not rows:
        raise UsageError(
            f"rows {rows.start}:{rows.stop} hold no row; the store has rows 0 to {store.rows - 1}"
        )
    if rows.start < 0 or rows.stop > store.rows:
        asked = f"row {rows.start}" if len(rows) == 1 else f"rows {rows.start}:{rows.stop}"
        raise UsageError(f"{asked}: the store has rows 0 to {store.rows - 1}")


def _unlabelled(store: Store, row: int, key: str, status: int) -> Unlabelled:
    if status == stores.STATUS_PENDING:
        return Unlabelled(
            row=row, key=key, reason="it is not computed yet; run the same extract command again"
        )
    known = [f for receipt in store.receipts() for f in receipt.failures if row in f.rows]
    reason = f"[{known[0].stage}] {known[0].message}" if known else "the video failed"
    return Unlabelled(row=row, key=key, reason=reason)


def _scene(
    number: int,
    key: str,
    row: PlannedRow,
    rgb: U8,
    flow: F32,
    config: ExtractConfig,
    stored: dict[str, Array],
) -> Scene:
    wanted = label_config(config)
    again, _ = labels.label_rows(rgb, flow, [(row.crop_y, row.crop_x, row.flip)], wanted)
    differences = []
    for spec in labels.schema(wanted):
        if spec.name.startswith("labels/"):
            for k, label in enumerate(spec.labels):
                now, then = int(again[spec.name][0, k]), int(stored[spec.name][k])
                if now != then:
                    name = spec.name.removeprefix("labels/")
                    differences.append(
                        f"{name}/{label.name} is stored as {then} and is {now} when computed again"
                    )
    profile = profiles.get(wanted.profile)
    y, x, side = row.crop_y, row.crop_x, wanted.crop
    if row.flip:
        rgb, flow = rgb[:, :, ::-1], flow[:, :, ::-1]
        flow = flow if profile.released else flow * np.array([-1, 1], np.float32)
        x = rgb.shape[2] - side - x
    window = (slice(None), slice(y, y + side), slice(x, x + side))
    if profile.released:  # its boundaries know nothing of what lies around the crop
        rgb, flow, window = rgb[window], flow[window], (slice(None), slice(0, side), slice(0, side))
    m = profiles.measure(
        rgb, flow, [(window[1].start, window[2].start, False)], profile=profile,
        patterns=tuple(patterns.get(name) for name in wanted.patterns or ()), size=side,
    )  # fmt: skip
    return Scene(
        row=number,
        key=key,
        planned=row,
        rgb=rgb[window],
        flow=flow[window],
        boundaries=np.moveaxis(m.accumulated[window], (3, 1, 2, 0), (0, 1, 2, 3)),
        frame_sums=m.frames()[0] / 65536,
        stored={name: values for name, values in stored.items() if name.startswith("labels/")},
        margins={
            name.replace("margins/", "labels/"): values
            for name, values in stored.items()
            if name.startswith("margins/")
        },
        differences=tuple(differences),
    )


# ------------------------------------------------------------------------------------------------ one row, whole


@dataclass(frozen=True, slots=True, kw_only=True)
class _Label:
    """One label of a scene; `margin` is None where the store has none or the label is 0."""

    value: int
    margin: float | None

    @property
    def won_by(self) -> str:
        """The margin in words; "" where there is none."""
        if self.margin is None:
            return ""
        if self.margin == 0:
            return " (tie)"
        if self.margin < 0.001:
            return " (+<0.1%)"
        return f" (+{self.margin:.0%})" if self.margin >= 0.01 else f" (+{self.margin:.1%})"


def _label(scene: Scene, array: str, column: str, config: LabelConfig) -> _Label | None:
    """Return a label by its array and column, None where the store has no such label."""
    spec = _specs(config).get(array)
    names = [label.name for label in spec.labels] if spec is not None else []
    if column not in names:
        return None
    k = names.index(column)
    value = int(scene.stored[array][k])
    margins = scene.margins.get(array)
    return _Label(value=value, margin=None if margins is None or not value else float(margins[k]))


def _specs(config: LabelConfig) -> dict[str, ArrayRecord]:
    return {spec.name: spec for spec in labels.schema(config) if spec.name.startswith("labels/")}


def _head(scene: Scene, store: Store) -> list[Words]:
    config, at = store.plan.config, scene.planned
    video = store.videos[at.video]
    stride = f", {at.stride} apart" if at.stride > 1 else ""
    facts = (
        f"row {scene.row}: {config.clip_length} frames{stride} from frame {at.start_frame} of {video.frames}; "
        f"crop {config.crop_size} x {config.crop_size} at y {at.crop_y}, x {at.crop_x} of "
        f"{config.working_height} x {config.working_width}; {'flipped' if at.flip else 'not flipped'}"
    )
    made = f"profile {config.profile}; flow {config.flow} at {config.flow_size}"
    if video.class_name:
        made += f"; class {video.class_name}"
    if scene.margins:
        made += "; (+%) is the margin over the runner-up"
    head = [Words(text=scene.key, bold=True), Words(text=facts), Words(text=made)]
    if scene.differences:
        head.append(Words(text="NOT as stored: " + "; ".join(scene.differences), colour=ALARM, bold=True))
    return head


def _bands(scene: Scene, config: LabelConfig) -> list[Band]:
    bands = [_frames_band(scene, config)]
    bands += [_motion_band(scene, config, c) for c in "uv" if "motion" in (config.families or ())]
    if "appearance" in (config.families or ()):
        bands.append(_appearance_band(scene, config))
    others = _other_words(scene, config)
    return [*bands, Band(panels=(), words=tuple(others))] if others else bands


def _frames_band(scene: Scene, config: LabelConfig) -> Band:
    winners = {c: _frame_label(scene, config, c) for c in "uv"}
    words = []
    for k, c in enumerate("uv"):
        label = winners[c]
        if label is None:
            continue
        text = (
            f"{c} changes most in frame {label.value}{label.won_by}" if label.value else f"no motion in {c}"
        )
        bars = Bars(
            values=scene.frame_sums[k],
            winner=label.value - 1 if label.value else None,
            colour=COMPONENT_COLOURS[c],
        )
        words.append(Words(text=text, bars=bars))
    panels = []
    for i in _strip([label.value for label in winners.values() if label], len(scene.rgb)):
        mine = [c for c, label in winners.items() if label and label.value == i]
        caption = f"{i}: {' and '.join(mine)}" if mine else str(i)
        border = tuple(COMPONENT_COLOURS[c] for c in mine)
        panels.append(Panel(image=scene.rgb[i - 1], caption=caption, border=border))
    return Band(panels=tuple(panels), words=tuple(words))


def _frame_label(scene: Scene, config: LabelConfig, component: str) -> _Label | None:
    """Return the frame label, 0 where nothing moves, of which the released code says 1; None: the store has none."""
    label = _label(scene, "labels/motion/global", f"{component}_frame", config)
    moves = bool(scene.frame_sums["uv".index(component)].any())
    return label if label is None or moves else _Label(value=0, margin=None)


def _strip(wanted: Sequence[int], frames: int) -> list[int]:
    """Return at most `STRIP` frames from 1, evenly spread but for the wanted ones, which are always among them."""
    count = min(STRIP, frames)
    chosen = [1 + round(k * (frames - 1) / max(count - 1, 1)) for k in range(count)]
    kept = {w for w in wanted if w}
    for w in sorted(kept - set(chosen)):
        nearest = min((c for c in chosen if c not in kept), key=lambda c: abs(c - w))
        chosen[chosen.index(nearest)] = w
    return sorted(chosen)


def _motion_band(scene: Scene, config: LabelConfig, component: str) -> Band:
    label = _frame_label(scene, config, component)
    field = max(0, label.value - 1) if label else 0
    longest = drawing.largest_length(scene.flow)
    panels = [
        Panel(
            image=drawing.vectors_to_rgb(scene.flow[field], longest),
            caption=f"flow, frame {field + 1} to {field + 2}; full at {longest:.2g} px",
        )
    ]
    words = [
        Words(text=f"{component}, {AXES[component]} motion", bold=True, colour=COMPONENT_COLOURS[component])
    ]
    boundary, full = _boundary_image(scene, component)
    for name in config.patterns or ():
        mark, text = _motion_mark(scene, config, name, component)
        caption = f"{_plain(name)}; full at {full:.2g} px" if len(panels) == 1 else _plain(name)
        panels.append(
            Panel(
                image=boundary, caption=caption, blocks=_blocks(name, config), marks=(mark,) if mark else ()
            )
        )
        words.append(Words(text=f"{_plain(name)}: {text}"))
    words.append(
        Words(text=f"boundaries of {component}, summed over {len(scene.flow)} fields; arrows point where "
              f"{component} falls", colour=FAINT)
    )  # fmt: skip
    return Band(panels=tuple(panels), words=tuple(words))


def _boundary_image(scene: Scene, component: str) -> tuple[U8, float]:
    vectors = scene.boundaries["uv".index(component)]
    full = drawing.largest_length(vectors)
    return drawing.vectors_to_rgb(vectors, full), full


def _motion_mark(scene: Scene, config: LabelConfig, pattern: str, component: str) -> tuple[Mark | None, str]:
    """Return what to mark in a pattern, and the same in words."""
    array = f"labels/motion/{pattern}"
    where = _label(scene, array, f"{component}_loc", config)
    towards = _label(scene, array, f"{component}_ori", config)
    if where is None or towards is None:
        return None, "not in this store"
    # Where nothing moves, the released code says 1 for all but the first pattern.
    first = _label(scene, f"labels/motion/{(config.patterns or (pattern,))[0]}", f"{component}_loc", config)
    if not where.value or (first is not None and not first.value):
        return None, f"no motion, label {where.value}"
    degrees = 45 * (towards.value - 1)
    text = (
        f"{_block(pattern, where.value, config)}{where.won_by}, towards {degrees} degrees, "
        f"{DIRECTIONS[towards.value]}{towards.won_by}"
    )
    return Mark(block=where.value - 1, towards=degrees), text


def _appearance_band(scene: Scene, config: LabelConfig) -> Band:
    change = scene.rgb.max(axis=0) - scene.rgb.min(axis=0)
    mean = scene.rgb.mean(axis=0).round().astype(np.uint8)
    panels = [Panel(image=change, caption="range of colours over the clip")]
    words = [Words(text="colours over the clip", bold=True)]
    for name in config.patterns or ():
        marks, texts = _colour_marks(scene, config, name)
        panels.append(
            Panel(
                image=mean, caption=f"{_plain(name)}, mean frame", blocks=_blocks(name, config), marks=marks
            )
        )
        words += texts
    whole = _label(scene, "labels/appearance/global", "dominant_col", config)
    if whole is not None:
        words.append(
            Words(
                text=f"whole crop: mostly {COLOURS[whole.value]}{whole.won_by}", swatch=_sample(whole.value)
            )
        )
    return Band(panels=tuple(panels), words=tuple(words))


def _colour_marks(scene: Scene, config: LabelConfig, pattern: str) -> tuple[tuple[Mark, ...], list[Words]]:
    marks, words = [], []
    for column, word, ink in (("div", "most", (190, 0, 60)), ("stable", "least", (0, 70, 190))):
        where = _label(scene, f"labels/appearance/{pattern}", f"{column}_loc", config)
        colour = _label(scene, f"labels/appearance/{pattern}", f"{column}_col", config)
        if where is None or colour is None or not where.value:
            continue
        sample = _sample(colour.value)
        marks.append(Mark(block=where.value - 1, colour=ink, swatch=sample, word=word))
        text = (
            f"{_plain(pattern)}: {word} change in {_block(pattern, where.value, config)}{where.won_by}, "
            f"mostly {COLOURS[colour.value]}{colour.won_by}"
        )
        words.append(Words(text=text, colour=ink, swatch=sample))
    if len(marks) == 2 and marks[0].block == marks[1].block:
        # Every block changes alike: the lowest number wins both races.
        marks = [replace(marks[0], colour=INK, word="tie")]
    return tuple(marks), words


def _other_words(scene: Scene, config: LabelConfig) -> list[Words]:
    """Return the labels of families beyond the papers' two, one line a group."""
    words = []
    for spec in _specs(config).values():
        family, pattern = spec.name.removeprefix("labels/").split("/")
        if family not in ("motion", "appearance"):
            found = [
                f"{label.name} {value}"
                for label, value in zip(spec.labels, scene.stored[spec.name], strict=True)
            ]
            words.append(Words(text=f"{family}, {_plain(pattern)}: {', '.join(found)}"))
    return words


def _blocks(pattern: str, config: LabelConfig) -> drawing.Mask:
    return patterns.get(pattern).masks(config.crop)


def _block(pattern: str, number: int, config: LabelConfig) -> str:
    return f"{BLOCK_NAMES.get(pattern, 'block')} {number} of {len(_blocks(pattern, config))}"


def _plain(name: str) -> str:
    return name.replace("_", " ")


def _sample(colour: int) -> drawing.Colour | None:
    return COLOUR_SAMPLES[colour - 1] if colour else None


# -------------------------------------------------------------------------------------------- several rows, small


def _tile(scene: Scene | Unlabelled, config: LabelConfig) -> Band:
    """Return a row in small: a frame and the boundaries of u and v with the first pattern, then colours."""
    if isinstance(scene, Unlabelled):
        reason = Words(text=f"no labels: {scene.reason}", colour=ALARM)
        return Band(panels=(), words=(Words(text=f"row {scene.row}  {scene.key}", bold=True), reason))
    name = (config.patterns or ())[0]
    flipped = ", flipped" if scene.planned.flip else ""
    words = [
        Words(text=f"row {scene.row}  {scene.key}", bold=True),
        Words(text=f"from frame {scene.planned.start_frame}{flipped}; {_plain(name)}", colour=FAINT),
    ]
    panels = [Panel(image=scene.rgb[len(scene.rgb) // 2])]
    for c in "uv" if "motion" in (config.families or ()) else "":
        mark, text = _motion_mark(scene, config, name, c)
        image, _ = _boundary_image(scene, c)
        panels.append(Panel(image=image, blocks=_blocks(name, config), marks=(mark,) if mark else ()))
        label = _frame_label(scene, config, c)
        when = f"; frame {label.value}" if label and label.value else ""
        words.append(Words(text=f"{c}: {text}{when}", colour=COMPONENT_COLOURS[c]))
    if "appearance" in (config.families or ()):
        marks, texts = _colour_marks(scene, config, name)
        mean = scene.rgb.mean(axis=0).round().astype(np.uint8)
        panels.append(Panel(image=mean, blocks=_blocks(name, config), marks=marks))
        words += [Words(text=t.text.partition(": ")[2], colour=t.colour, swatch=t.swatch) for t in texts]
    words += [Words(text=d, colour=ALARM) for d in scene.differences]
    return Band(panels=tuple(panels), words=tuple(words))
