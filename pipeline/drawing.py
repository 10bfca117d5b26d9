"""Pictures of labels, drawn with NumPy and OpenCV alone: panels with blocks outlined and marked, and words beside them.

Nothing here knows what a label is: `vstats.pipeline.show` says what stands where.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from vstats.pipeline.errors import UsageError
from vstats.pipeline.flow_colour import flow_to_rgb
from vstats.pipeline.records import F32, U8

Colour = tuple[int, int, int]
Mask = npt.NDArray[np.bool_]

INK, FAINT, PAPER = (25, 25, 25), (115, 115, 115), (255, 255, 255)
GRID, GRID_SMALL = (165, 165, 165), (205, 205, 205)
ALARM = (200, 20, 20)
ORANGE, TEAL = (220, 100, 0), (0, 140, 150)

PANEL = 224
"""Side of a panel in a row's picture, in pixels: twice the papers' crop."""

GAP, WORDS, TEXT, LINE = 10, 350, 0.46, 18
FORMATS = {".png": [cv2.IMWRITE_PNG_COMPRESSION, 6], ".jpg": [cv2.IMWRITE_JPEG_QUALITY, 92]}
FORMATS[".jpeg"] = FORMATS[".jpg"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Mark:
    """One block singled out: outlined, with an arrow from its middle or a swatch and a word in it.

    `block` counts from 0. `towards` is the arrow's direction in degrees, from right towards down.
    """

    block: int
    colour: Colour = INK
    towards: float | None = None
    swatch: Colour | None = None
    word: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Panel:
    """One square image, uint8 [S, S, 3]: blocks bool [K, S, S] drawn over it, some marked, and a caption above it.

    `border` frames the whole panel in colours, from the outside in.
    """

    image: U8
    caption: str = ""
    blocks: Mask | None = None
    marks: tuple[Mark, ...] = ()
    border: tuple[Colour, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Bars:
    """A small chart: one bar for each value, float [N], the `winner` (from 0; None: nobody) in `colour`."""

    values: npt.NDArray[np.float64]
    winner: int | None
    colour: Colour


@dataclass(frozen=True, slots=True, kw_only=True)
class Words:
    """One paragraph beside the panels, with a swatch of a colour after it or a chart below it."""

    text: str
    bold: bool = False
    colour: Colour = INK
    swatch: Colour | None = None
    bars: Bars | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Band:
    """Panels side by side, and words to their right."""

    panels: tuple[Panel, ...]
    words: tuple[Words, ...]


def draw_picture(head: Sequence[Words], bands: Sequence[Band]) -> U8:
    """Draw the picture of one row: its head, then one band below the other, the wheel of directions beside the head.

    Parameters
    ----------
    head : sequence of Words
        Lines above all panels.
    bands : sequence of Band
        The bands; one with twice as many panels as another has panels half as wide.

    Returns
    -------
    uint8 [H, W, 3]
        RGB. The width follows from the band with the most full-sized panels.
    """
    columns = max([3, *(len(b.panels) for b in bands if len(b.panels) <= 6)])
    left = columns * (PANEL + GAP) - GAP
    width = left + 3 * GAP + WORDS
    parts = [_with_wheel(_column(head, left), width)]
    for band in bands:
        across = len(band.panels)
        side = PANEL if 0 < across <= columns else (left - GAP * (across - 1)) // max(across, 1)
        row = _beside([draw_panel(p, side) for p in band.panels], GAP)
        words = _column(band.words, WORDS)
        part = _paper(max(len(row), len(words)), width - 2 * GAP)
        part[: len(row), : row.shape[1]] = row
        part[: len(words), left + GAP : left + GAP + WORDS] = words
        parts.append(_framed(part, GAP // 2, GAP))
    return _framed(np.concatenate(parts), GAP, 0)


def draw_sheet(tiles: Sequence[Band], columns: int = 2, side: int = 140) -> U8:
    """Draw many rows small: each tile's panels side by side, its words below; tiles row by row.

    Parameters
    ----------
    tiles : sequence of Band
        The rows, at least one.
    columns : int
        Tiles side by side.
    side : int
        Side of a panel in pixels.

    Returns
    -------
    uint8 [H, W, 3]
        RGB.
    """
    across = max(len(t.panels) for t in tiles)
    width = max(across, 1) * (side + 4) - 4
    drawn = []
    for tile in tiles:
        row = _beside([draw_panel(p, side) for p in tile.panels], 4)
        row = _padded(row, len(row), width)
        drawn.append(np.concatenate([row, _column(tile.words, width)]))
    columns = min(columns, len(drawn))
    lines = []
    for start in range(0, len(drawn), columns):
        line = drawn[start : start + columns]
        height = max(len(d) for d in line)
        cells = [_padded(d, height, width) for d in line]
        cells += [_paper(height, width)] * (columns - len(line))
        lines.append(_framed(_beside(cells, 2 * GAP), GAP, GAP))
    return np.concatenate(lines)


def draw_panel(panel: Panel, side: int) -> U8:
    """Return a panel uint8 [H, side, 3], its image scaled to `side` pixels and its caption above it."""
    grows = side >= len(panel.image)
    image = cv2.resize(panel.image, (side, side), interpolation=cv2.INTER_CUBIC if grows else cv2.INTER_AREA)
    image = np.ascontiguousarray(image)
    if panel.blocks is not None:
        blocks = np.stack([_scaled(block, side) for block in panel.blocks])
        small = side < PANEL
        for block in blocks:
            cv2.polylines(image, _contours(block), True, GRID_SMALL if small else GRID, 1, cv2.LINE_AA)
        for mark in panel.marks:
            _draw_outline(image, blocks[mark.block], mark.colour, small=small)
        for mark in panel.marks:
            _draw_mark(image, blocks[mark.block], mark, small=small)
    else:
        cv2.rectangle(image, (0, 0), (side - 1, side - 1), GRID_SMALL, 1)
    for depth, colour in enumerate(panel.border):
        low, high = 3 * depth, side - 1 - 3 * depth
        cv2.rectangle(image, (low + 1, low + 1), (high - 1, high - 1), colour, 3)
    if not panel.caption:
        return image
    return np.concatenate([_column([Words(text=panel.caption, colour=FAINT)], side, 0.4), image])


def vectors_to_rgb(vectors: F32, full: float) -> U8:
    """Colour vectors [H, W, 2] in the wheel of directions; those longer than `full` are drawn as long as that."""
    length = np.hypot(vectors[..., 0], vectors[..., 1])[..., None]
    # A hair less than full: rounding must not make it more, which is drawn darker.
    short = np.where(length > full, 0.999 * full / np.maximum(length, full or 1), 1)
    return flow_to_rgb((vectors * short).astype(np.float32), full)


def largest_length(vectors: F32) -> float:
    """Return the length that 99.5 % of vectors [..., 2] stay below: the fullest colour, whatever a few outliers do."""
    length = np.hypot(vectors[..., 0], vectors[..., 1])
    return float(np.percentile(length, 99.5)) or float(length.max())


def encode(image: U8, path: Path) -> bytes:
    """Return the bytes of a PNG or JPEG file, as the path's suffix says, of uint8 [H, W, 3] RGB.

    Raises
    ------
    UsageError
        The suffix is neither.
    """
    check_suffix(path)
    suffix = path.suffix.lower()
    done, content = cv2.imencode(suffix, np.ascontiguousarray(image[..., ::-1]), FORMATS[suffix])
    assert done, "every uint8 image can be encoded"
    return bytes(content)


def check_suffix(path: Path) -> None:
    """Raise `UsageError` unless the path ends as a picture that can be written."""
    if path.suffix.lower() not in FORMATS:
        raise UsageError(f"{path} is no picture that can be written; give a name that ends in .png or .jpg")


# ------------------------------------------------------------------------------------------------------ blocks


def _scaled(mask: Mask, side: int) -> Mask:
    scaled: Mask = cv2.resize(mask.astype(np.uint8), (side, side), interpolation=cv2.INTER_NEAREST) > 0
    return scaled


def _contours(block: Mask) -> list[npt.NDArray[np.int32]]:
    """Return a block's borders as polygons, those of its holes too; the stairs of slanted ones are smoothed."""
    lines = []
    inside = block.astype(np.uint8)
    while inside.any():
        found, _ = cv2.findContours(inside, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
        lines += [cv2.approxPolyDP(line, 1.5, True) for line in found]
        filled = np.zeros_like(inside)
        cv2.drawContours(filled, found, -1, 1, cv2.FILLED)
        inside = filled & (1 - inside)  # the holes, whose own holes are the block's islands
    return lines


def _draw_outline(image: U8, block: Mask, colour: Colour, *, small: bool) -> None:
    """Draw a block's border between two white lines, so that it shows on any ground."""
    # A line in the outermost row or column of pixels would be cut in half.
    inset = cv2.erode(block.astype(np.uint8), np.ones((3, 3), np.uint8), borderValue=0)
    lines = _contours(inset.astype(bool) if inset.any() else block)
    for drawn, width in ((PAPER, 4 if small else 6), (colour, 1 if small else 2)):
        cv2.polylines(image, lines, True, drawn, width, cv2.LINE_AA)


def _middle(block: Mask) -> tuple[int, int]:
    """Return (x, y) of the block's centre of mass, or, where that lies outside, of a point well within near it."""
    inside = np.argwhere(block)
    y, x = inside.mean(axis=0).round().astype(int).tolist()
    if not block[y, x]:
        depth = cv2.distanceTransform(np.pad(block.astype(np.uint8), 1), cv2.DIST_L2, 5)[1:-1, 1:-1]
        deep = np.argwhere(depth >= 0.8 * depth.max())
        y, x = deep[((deep - (y, x)) ** 2).sum(axis=1).argmin()].tolist()
    return x, y


def _draw_mark(image: U8, block: Mask, mark: Mark, *, small: bool) -> None:
    x, y = _middle(block)
    side = len(image)
    if mark.towards is not None:
        length = float(np.clip(0.45 * np.sqrt(block.sum()), side / 14, side / 6))
        angle = np.deg2rad(mark.towards)
        dx, dy = length * np.cos(angle), length * np.sin(angle)
        # An arrow that would leave the picture starts as much earlier.
        x, y = (round(float(np.clip(at + d, 3, side - 4) - d)) for at, d in ((x, dx), (y, dy)))
        tip = (round(x + dx), round(y + dy))
        for colour, width in ((PAPER, 3 if small else 5), (mark.colour, 1 if small else 2)):
            cv2.arrowedLine(image, (x, y), tip, colour, width, cv2.LINE_AA, tipLength=0.35)
        cv2.circle(image, (x, y), 2 if small else 3, mark.colour, -1, cv2.LINE_AA)
    if mark.swatch is not None:
        half = 5 if small else 7
        _draw_swatch(image, x - half, y - half, 2 * half, mark.swatch)
    if mark.word and not small:
        width, height, low = _text_width(mark.word, 0.4, bold=True), 9, 12
        left = int(np.clip(x - width // 2, 2, side - width - 2))
        base = int(np.clip(y + low + height, height, side - 3))
        for dx, dy in ((-1, -1), (-1, 1), (1, -1), (1, 1)):
            _write(image, mark.word, (left + dx, base + dy), PAPER, 0.4, bold=True)
        _write(image, mark.word, (left, base), mark.colour, 0.4, bold=True)


def _draw_swatch(image: U8, x: int, y: int, side: int, colour: Colour) -> None:
    for inset, drawn in ((0, PAPER), (1, INK), (2, colour)):
        image[y + inset : y + side - inset, x + inset : x + side - inset] = drawn


# ------------------------------------------------------------------------------------------------------- words


def _write(
    image: U8, text: str, place: tuple[int, int], colour: Colour, scale: float = TEXT, *, bold: bool = False
) -> None:
    # OpenCV 5 draws these two as one typeface, regular and bold; OpenCV 4 as strokes, thin and double.
    font = cv2.FONT_HERSHEY_DUPLEX if bold else cv2.FONT_HERSHEY_SIMPLEX
    cv2.putText(image, text, place, font, scale, colour, 1, cv2.LINE_AA)


def _text_width(text: str, scale: float, *, bold: bool) -> int:
    font = cv2.FONT_HERSHEY_DUPLEX if bold else cv2.FONT_HERSHEY_SIMPLEX
    return int(cv2.getTextSize(text, font, scale, 1)[0][0])


def _wrapped(words: Words, width: int, scale: float) -> list[str]:
    """Break a paragraph into lines no wider than `width` pixels: between words, and within one that is wider alone."""
    lines = [""]
    for word in words.text.split():
        longer = f"{lines[-1]} {word}".strip()
        if _text_width(longer, scale, bold=words.bold) <= width:
            lines[-1] = longer
            continue
        lines += [""] if lines[-1] else []
        for letter in word:
            if _text_width(lines[-1] + letter, scale, bold=words.bold) > width and lines[-1]:
                lines.append("")
            lines[-1] += letter
    return lines


def _column(words: Sequence[Words], width: int, scale: float = TEXT) -> U8:
    """Draw paragraphs one below the other on paper of this width."""
    parts: list[U8] = []
    step = LINE if scale == TEXT else LINE - 2
    for paragraph in words:
        room = width - (24 if paragraph.swatch else 0)
        lines = _wrapped(paragraph, room, scale)
        for line in lines:
            part = _paper(step, width)
            _write(part, line, (1, step - 5), paragraph.colour, scale, bold=paragraph.bold)
            parts.append(part)
        if paragraph.swatch is not None:
            end = _text_width(lines[-1], scale, bold=paragraph.bold)
            _draw_swatch(parts[-1], end + 7, 2, step - 3, paragraph.swatch)
        if paragraph.bars is not None:
            parts.append(_bars(paragraph.bars, width))
    return np.concatenate(parts) if parts else _paper(0, width)


def _bars(bars: Bars, width: int, height: int = 30) -> U8:
    chart = _paper(height, width)
    count = len(bars.values)
    step = min(20, (width - 2) // max(count, 1))
    top = float(bars.values.max(initial=0))
    for k, value in enumerate(bars.values.tolist()):
        tall = round(value / top * (height - 6)) if top > 0 else 0
        left = 1 + k * step
        colour = bars.colour if k == bars.winner else (205, 205, 205)
        chart[height - 3 - tall : height - 2, left : left + max(step - 2, 1)] = colour
    return chart


# ------------------------------------------------------------------------------------------------------- paper


def _with_wheel(head: U8, width: int) -> U8:
    """Set the wheel of directions into the upper right corner, beside the head."""
    side = 76
    at = (np.arange(side) + 0.5) / side * 2 - 1
    vectors = np.stack(np.broadcast_arrays(at[None, :], at[:, None]), axis=-1).astype(np.float32)
    wheel = vectors_to_rgb(vectors, 1.0)
    wheel[np.hypot(vectors[..., 0], vectors[..., 1]) > 1] = PAPER
    part = _paper(max(len(head), side), width)
    part[: len(head), GAP : GAP + head.shape[1]] = head
    left = width - GAP - WORDS
    part[:side, left : left + side] = wheel
    notes = [
        Words(
            text="hue: direction of flow, or the direction in which u or v falls at a boundary", colour=FAINT
        ),
        Words(text="white: none; full colour: as captioned", colour=FAINT),
    ]
    text = _column(notes, WORDS - side - GAP, 0.4)
    part[: len(text), left + side + GAP : left + WORDS] = text
    return part


def _paper(height: int, width: int) -> U8:
    return np.full((height, width, 3), 255, np.uint8)


def _padded(image: U8, height: int, width: int) -> U8:
    out = _paper(height, width)
    out[: len(image), : image.shape[1]] = image
    return out


def _framed(image: U8, above_below: int, sides: int) -> U8:
    out = _paper(len(image) + 2 * above_below, image.shape[1] + 2 * sides)
    out[above_below : above_below + len(image), sides : sides + image.shape[1]] = image
    return out


def _beside(images: Sequence[U8], gap: int) -> U8:
    """Set images side by side, `gap` pixels apart, at the height of the tallest."""
    if not images:
        return _paper(0, 0)
    height = max(len(image) for image in images)
    width = sum(image.shape[1] for image in images) + gap * (len(images) - 1)
    out = _paper(height, width)
    left = 0
    for image in images:
        out[: len(image), left : left + image.shape[1]] = image
        left += image.shape[1] + gap
    return out
