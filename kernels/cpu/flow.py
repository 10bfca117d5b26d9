"""TV-L1 optical flow, the algorithm of OpenCV 5.0's ``DualTVL1OpticalFlow`` in strict float32.

Zach, Pock, Bischof, "A Duality Based Approach for Realtime TV-L1 Optical Flow", DAGM 2007, with the pyramid, the
warps and the stop test of Sanchez Perez, Meinhardt-Llopis, Facciolo, "TV-L1 Optical Flow Estimation", IPOL 2013
("IPOL" below), and the median filter that OpenCV adds.

The planes of a level are float32 [H + 4, S]: two rows of padding above and below, `S` a multiple of 16 with room for
the loops to run over `W` rounded up to 16. Pixel (y, x) of the flow and of the data term stands at [y + 2, x], that of
the dual field p at [y + 2, x + 16]. The padding is what makes every loop free of special cases at the borders.
"""

from collections.abc import Callable
from typing import Any, TypeVar, cast

import numba
import numba.extending
import numpy as np
import numpy.typing as npt
from llvmlite import ir

from vstats.kernels.contract import TVL1Params
from vstats.kernels.cpu import resize
from vstats.kernels.cpu.jit import kernel

F = TypeVar("F", bound=Callable[..., Any])
F32 = npt.NDArray[np.float32]
I32 = npt.NDArray[np.int32]
U64 = npt.NDArray[np.uint64]

ZERO, HALF, ONE, TWO, THREE = (np.float32(value) for value in (0, 0.5, 1, 2, 3))
EPS = np.finfo(np.float32).eps
CUBIC = np.float32(-0.75)  # A, the free parameter of cubic interpolation, as OpenCV has it
FOUR_A, FIVE_A, EIGHT_A = np.float32(-3), np.float32(-3.75), np.float32(-6)

ROWS = 2  # padding rows above and below a plane
LANES = 16  # columns are padded to a multiple of this, the floats of the widest vector
RIM = 4  # zeros around the image that is warped: where the four cubic taps fall when a position is far outside

STOP_UNITS = 2**29  # the squared change at which a warp stops, in the integers that the changes are summed in
CHANGE_CAP = np.float32(2**30)  # one pixel's change saturates here, above the sum that stops
UNIT_CAP = 2.0**100  # units in a squared pixel at most: float32 goes to 2^127


@numba.extending.intrinsic
def _disjoint(_typing: Any) -> Any:
    """Tell LLVM that the arrays of the calling function do not overlap, and that wide vectors are welcome.

    Without the first it compares the bounds of every pair of rows before each row; both leave the arithmetic alone.
    """

    def generate(context: Any, builder: Any, _signature: Any, _arguments: Any) -> Any:
        for argument in builder.function.args:
            if isinstance(argument.type, ir.PointerType) and argument.name.startswith("arg."):
                argument.add_attribute("noalias")
        return context.get_dummy_value()

    return numba.types.none(), generate


def _inlined(function: F) -> F:
    """Compile a scalar helper into its callers: a call in a loop keeps the loop from vectorising."""
    return cast(F, numba.njit(error_model="numpy", forceinline=True)(function))


# ---------------------------------------------------------------------------------------- inner iteration


@kernel
def iterate(
    u1: F32,
    u2: F32,
    p11: F32,
    p12: F32,
    p21: F32,
    p22: F32,
    gx: F32,
    gy: F32,
    rho_c: F32,
    step: F32,
    rows: U64,
    change: I32,
    H: int,
    W: int,
    reach: np.float32,
    theta: np.float32,
    taut: np.float32,
    unit: np.float32,
) -> int:
    """One inner iteration in place: the threshold of IPOL eq. 17, u = v + theta div p, and the dual step of eq. 16.

    Row y of u is followed by row y - 2 of p: by then nothing needs its old value, and its rows of u are complete.
    Returns the summed squared change of u in whole units of 1/`unit`, so that the order of the sum does not matter.
    """
    _disjoint()
    total = np.int64(0)
    wide = (W + 15) // 16 * 16
    for y in range(H + 2):
        # Row numbers come from memory: LLVM would otherwise test once for the whole picture whether the rows of an
        # array overlap, find that they do, and fall back to scalar code.
        h, i, k = rows[y], rows[y + 1], rows[y + 2]
        for x in range(wide):
            a, b, ix, iy = u1[k, x], u2[k, x], gx[k, x], gy[k, x]
            along = (rho_c[k, x] + (ix * a + iy * b)) * step[k, x]
            along = -reach if along < -reach else along
            along = reach if along > reach else along
            div1 = (p11[k, x + 16] - p11[k, x + 15]) + (p12[k, x + 16] - p12[i, x + 16])
            div2 = (p21[k, x + 16] - p21[k, x + 15]) + (p22[k, x + 16] - p22[i, x + 16])
            new_a = (a + along * ix) + theta * div1
            new_b = (b + along * iy) + theta * div2
            u1[k, x] = new_a
            u2[k, x] = new_b
            da, db = new_a - a, new_b - b
            squared = (da * da + db * db) * unit + HALF
            change[x] = np.int32(squared if squared < CHANGE_CAP else CHANGE_CAP)

            c, d = u1[h, x], u2[h, x]
            ux, uy = u1[h, x + 1] - c, u1[i, x] - c
            vx, vy = u2[h, x + 1] - d, u2[i, x] - d
            shrink_u = ONE / (ONE + taut * np.sqrt(ux * ux + uy * uy))
            shrink_v = ONE / (ONE + taut * np.sqrt(vx * vx + vy * vy))
            p11[h, x + 16] = (p11[h, x + 16] + taut * ux) * shrink_u
            p12[h, x + 16] = (p12[h, x + 16] + taut * uy) * shrink_u
            p21[h, x + 16] = (p21[h, x + 16] + taut * vx) * shrink_v
            p22[h, x + 16] = (p22[h, x + 16] + taut * vy) * shrink_v
        if y < H:
            for x in range(W):
                total += np.int64(change[x])
        # The forward difference across the last column, above the first row and below the last is zero.
        u1[k, W] = u1[k, W - 1]
        u2[k, W] = u2[k, W - 1]
        if y == 0 or y == H:
            target, source = (i, k) if y == 0 else (k, i)
            for x in range(wide):
                u1[target, x] = u1[source, x]
                u2[target, x] = u2[source, x]
    return total


# ---------------------------------------------------------------------------------------- median filter


@_inlined
def _lo(a: np.float32, b: np.float32) -> np.float32:
    return a if a < b else b


@_inlined
def _hi(a: np.float32, b: np.float32) -> np.float32:
    return b if a < b else a


@_inlined
def _sort5(
    a: np.float32, b: np.float32, c: np.float32, d: np.float32, e: np.float32
) -> tuple[np.float32, np.float32, np.float32, np.float32, np.float32]:
    """Nine comparators; LLVM removes those whose results a caller does not use."""
    a, b = _lo(a, b), _hi(a, b)
    d, e = _lo(d, e), _hi(d, e)
    c, e = _lo(c, e), _hi(c, e)
    c, d = _lo(c, d), _hi(c, d)
    a, d = _lo(a, d), _hi(a, d)
    a, c = _lo(a, c), _hi(a, c)
    b, e = _lo(b, e), _hi(b, e)
    b, d = _lo(b, d), _hi(b, d)
    b, c = _lo(b, c), _hi(b, c)
    return a, b, c, d, e


@kernel
def median3(u: F32, copy: F32, columns: F32, H: int, W: int) -> None:
    """3 x 3 median of u in place, border replicated: of the highest low, the middle middle and the lowest high."""
    _disjoint()
    wide = (W + 15) // 16 * 16
    for y in range(H):
        for x in range(wide):
            copy[y, x] = u[y + 2, x]
    for y in range(H):
        above, below = max(y - 1, 0), min(y + 1, H - 1)
        for x in range(wide):
            a, b, c = copy[above, x], copy[y, x], copy[below, x]
            a, b = _lo(a, b), _hi(a, b)
            b, c = _lo(b, c), _hi(b, c)
            a, b = _lo(a, b), _hi(a, b)
            columns[0, x + 1] = a
            columns[1, x + 1] = b
            columns[2, x + 1] = c
        for n in range(3):
            columns[n, 0] = columns[n, 1]
            columns[n, W + 1] = columns[n, W]
        for x in range(wide):
            low = _hi(_hi(columns[0, x], columns[0, x + 1]), columns[0, x + 2])
            a, b, c = columns[1, x], columns[1, x + 1], columns[1, x + 2]
            middle = _hi(_lo(a, b), _lo(_hi(a, b), c))
            high = _lo(_lo(columns[2, x], columns[2, x + 1]), columns[2, x + 2])
            u[y + 2, x] = _hi(_lo(low, middle), _lo(_hi(low, middle), high))


@kernel
def median5(u: F32, copy: F32, columns: F32, H: int, W: int) -> None:
    """5 x 5 median of u in place, border replicated.

    The columns of the window are sorted (once for five windows), then its rows. Then an element that at least 13
    others are known to reach, or that reaches 13 others, cannot be the median of 25: three diagonals of four, five
    and four are left. The two outer elements of each outer diagonal drop out too, and the median of nine remains.
    """
    _disjoint()
    wide = (W + 15) // 16 * 16
    for y in range(H):
        for x in range(wide):
            copy[y, x] = u[y + 2, x]
    for y in range(H):
        y0, y1, y3, y4 = max(y - 2, 0), max(y - 1, 0), min(y + 1, H - 1), min(y + 2, H - 1)
        for x in range(wide):
            a, b, c, d, e = _sort5(copy[y0, x], copy[y1, x], copy[y, x], copy[y3, x], copy[y4, x])
            columns[0, x + 2] = a
            columns[1, x + 2] = b
            columns[2, x + 2] = c
            columns[3, x + 2] = d
            columns[4, x + 2] = e
        for n in range(5):
            columns[n, 0] = columns[n, 1] = columns[n, 2]
            columns[n, W + 2] = columns[n, W + 3] = columns[n, W + 1]
        for x in range(wide):
            c = columns
            _0, _1, _2, r03, r04 = _sort5(c[0, x], c[0, x + 1], c[0, x + 2], c[0, x + 3], c[0, x + 4])
            _0, _1, r12, r13, r14 = _sort5(c[1, x], c[1, x + 1], c[1, x + 2], c[1, x + 3], c[1, x + 4])
            _0, r21, r22, r23, _4 = _sort5(c[2, x], c[2, x + 1], c[2, x + 2], c[2, x + 3], c[2, x + 4])
            r30, r31, r32, _3, _4 = _sort5(c[3, x], c[3, x + 1], c[3, x + 2], c[3, x + 3], c[3, x + 4])
            r40, r41, _2, _3, _4 = _sort5(c[4, x], c[4, x + 1], c[4, x + 2], c[4, x + 3], c[4, x + 4])
            # The two highest of the lower diagonal, e <= f, and the two lowest of the upper one, g <= h.
            p, q, r, s = _lo(r03, r12), _hi(r03, r12), _lo(r21, r30), _hi(r21, r30)
            e, f = _hi(_lo(q, s), _hi(p, r)), _hi(q, s)
            p, q, r, s = _lo(r14, r23), _hi(r14, r23), _lo(r32, r41), _hi(r32, r41)
            g, h = _lo(p, r), _lo(_hi(p, r), _lo(q, s))
            # Median of nine: drop the lowest and the highest of e, f, g, h and two more; of what is left and one
            # more; and again, until three are left.
            p, q = _lo(r04, r13), _hi(r04, r13)
            e, g = _lo(e, g), _hi(e, g)
            p = _hi(e, p)
            f, h = _lo(f, h), _hi(f, h)
            q = _lo(q, h)
            g, f = _lo(g, f), _hi(g, f)
            p, q = _lo(p, q), _hi(p, q)
            g, p = _lo(g, p), _hi(g, p)
            r = _hi(g, r22)
            f, q = _lo(f, q), _hi(f, q)
            r = _lo(r, q)
            p, f = _lo(p, f), _hi(p, f)
            r, s = _lo(r, r31), _hi(r, r31)
            p = _hi(p, r)
            f = _lo(f, s)
            u[y + 2, x] = _hi(_lo(p, f), _lo(_hi(p, f), r40))


# ---------------------------------------------------------------------------------------- warp


@kernel
def gradients(image: F32, warped: F32) -> None:
    """[H, W] into [H + 8, W + 8, 4]: the image, its central differences along x and y, and 0, in a rim of zeros.

    The pixel outside the image is the border pixel, so a border difference is half of a one-sided one (IPOL sec. 3).
    """
    _disjoint()
    H, W = image.shape
    for y in range(H):
        above, below = max(y - 1, 0), min(y + 1, H - 1)
        for x in range(W):
            left, right = max(x - 1, 0), min(x + 1, W - 1)
            warped[y + 4, x + 4, 0] = image[y, x]
            warped[y + 4, x + 4, 1] = HALF * (image[y, right] - image[y, left])
            warped[y + 4, x + 4, 2] = HALF * (image[below, x] - image[above, x])


@numba.extending.intrinsic
def _cubic(_typing: Any, image: Any, at: Any, pitch: Any, weights: Any, x: Any, sampled: Any) -> Any:
    """Blend the 4 x 4 pixels of `image` from `at` on, rows `pitch` apart, into ``sampled[x]``.

    A pixel has four channels, so a row of taps is one vector of 16: the rows are blended with ``weights[4:, x]``, then
    its four pixels with ``weights[:4, x]``. As a loop this is scalar code, because Numba leaves LLVM's straight-line
    vectoriser off; the twin in the tests is written as the loop.
    """
    f32, i32, i64 = ir.FloatType(), ir.IntType(32), ir.IntType(64)

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        def data(n: int) -> Any:
            return context.make_array(signature.args[n])(context, builder, arguments[n])

        def vector(pointer: Any, lanes: int) -> Any:
            return builder.bitcast(pointer, ir.VectorType(f32, lanes).as_pointer())

        def shuffle(value: Any, lanes: list[int]) -> Any:
            return builder.shuffle_vector(value, value, ir.Constant(ir.VectorType(i32, len(lanes)), lanes))

        def weight(n: int, lanes: int) -> Any:
            row = builder.mul(builder.extract_value(data(3).shape, 1), i64(n))
            value = builder.load(builder.gep(data(3).data, [builder.add(row, arguments[4])]))
            one = builder.insert_element(ir.Constant(ir.VectorType(f32, lanes), ir.Undefined), value, i32(0))
            return shuffle(one, [0] * lanes)

        column = ir.Constant(ir.VectorType(f32, 16), [-0.0] * 16)  # -0 + a is a, even where a is -0
        for n in range(4):
            start = builder.add(arguments[1], builder.mul(arguments[2], i64(n)))
            row = builder.load(vector(builder.gep(data(0).data, [start]), 16), align=4)
            column = builder.fadd(column, builder.fmul(weight(4 + n, 16), row))
        pixel = ir.Constant(ir.VectorType(f32, 4), [-0.0] * 4)
        for n in range(4):
            part = shuffle(column, list(range(4 * n, 4 * n + 4)))
            pixel = builder.fadd(pixel, builder.fmul(weight(n, 4), part))
        end = builder.gep(data(5).data, [builder.mul(arguments[4], i64(4))])
        builder.store(pixel, vector(end, 4), align=4)
        return context.get_dummy_value()

    return numba.types.none(image, at, pitch, weights, x, sampled), generate


@kernel
def warp(
    I0: F32,
    I1: F32,
    u1: F32,
    u2: F32,
    gx: F32,
    gy: F32,
    rho_c: F32,
    step: F32,
    corner: I32,
    weights: F32,
    sampled: F32,
) -> None:
    """Sample I1 and its gradient at x + u by cubic interpolation, and precompute what the iterations need of it.

    ``rho_c = I1w - gx u1 - gy u2 - I0`` and ``step = -1 / |grad|^2``, 0 where the gradient vanishes (IPOL eq. 10, 17).
    `I1` is what `gradients` made, flat; `corner` int32 [W], `weights` float32 [8, W] and `sampled` float32 [W, 4]
    are room for a row.
    """
    _disjoint()
    H, W = I0.shape
    pitch = W + 2 * RIM
    # A position beyond these has all of its taps in the rim, as has the position that it is moved to.
    first, last_x, last_y = -THREE, np.float32(W + 1), np.float32(H + 1)
    for y in range(H):
        for x in range(W):
            px, py = np.float32(x) + u1[y + 2, x], np.float32(y) + u2[y + 2, x]
            px = px if px > first else first
            px = px if px < last_x else last_x
            py = py if py > first else first
            py = py if py < last_y else last_y
            # Positions are at least -3, so truncation after adding 3 is the floor.
            column, line = np.int32(px), np.int32(py)
            column = column - np.int32(1) if np.float32(column) > px else column
            line = line - np.int32(1) if np.float32(line) > py else line
            corner[x] = ((line + np.int32(3)) * np.int32(pitch) + column + np.int32(3)) * np.int32(4)
            for axis in range(2):
                t = px - np.float32(column) if axis == 0 else py - np.float32(line)
                far, near, rest = t + ONE, t, ONE - t
                w0 = ((CUBIC * far - FIVE_A) * far + EIGHT_A) * far - FOUR_A
                w1 = ((CUBIC + TWO) * near - (CUBIC + THREE)) * near * near + ONE
                w2 = ((CUBIC + TWO) * rest - (CUBIC + THREE)) * rest * rest + ONE
                weights[4 * axis, x] = w0
                weights[4 * axis + 1, x] = w1
                weights[4 * axis + 2, x] = w2
                weights[4 * axis + 3, x] = ONE - w0 - w1 - w2
        for x in range(np.uint64(W)):
            _cubic(I1, np.uint64(corner[x]), np.uint64(4 * pitch), weights, x, sampled)
        for x in range(W):
            ix, iy = sampled[x, 1], sampled[x, 2]
            gx[y + 2, x] = ix
            gy[y + 2, x] = iy
            rho_c[y + 2, x] = ((sampled[x, 0] - ix * u1[y + 2, x]) - iy * u2[y + 2, x]) - I0[y, x]
            grad = ix * ix + iy * iy
            step[y + 2, x] = -ONE / grad if grad > EPS else ZERO


# ---------------------------------------------------------------------------------------- a level, a pair, a clip


@kernel
def solve_level(
    I0: F32,
    I1: F32,
    u1: F32,
    u2: F32,
    p11: F32,
    p12: F32,
    p21: F32,
    p22: F32,
    gx: F32,
    gy: F32,
    rho_c: F32,
    step: F32,
    rows: U64,
    change: I32,
    weights: F32,
    sampled: F32,
    copy: F32,
    columns: F32,
    warps: int,
    outer_iterations: int,
    inner_iterations: int,
    median: int,
    reach: np.float32,
    theta: np.float32,
    taut: np.float32,
    unit: np.float32,
    stop: int,
) -> int:
    """The warps of one level (IPOL algorithm 1, procedure TV-L1_optical_flow). Returns the inner iterations made."""
    H, W = I0.shape
    made = 0
    for _ in range(warps):
        warp(I0, I1, u1, u2, gx, gy, rho_c, step, change, weights, sampled)
        total = stop + 1
        outer = 0
        while outer < outer_iterations and total > stop:
            if median == 5:
                median5(u1, copy, columns, H, W)
                median5(u2, copy, columns, H, W)
            elif median == 3:
                median3(u1, copy, columns, H, W)
                median3(u2, copy, columns, H, W)
            inner = 0
            while inner < inner_iterations and total > stop:
                total = iterate(
                    u1, u2, p11, p12, p21, p22, gx, gy, rho_c, step, rows, change, H, W, reach, theta, taut, unit
                )  # fmt: skip
                inner += 1
            made += inner
            outer += 1
    return made


def level_sizes(height: int, width: int, params: TVL1Params) -> list[tuple[int, int]]:
    """Sizes of the pyramid's levels, finest first; no level but the first has a side under 16."""
    sizes = [(height, width)]
    while len(sizes) < params.nscales:
        # round() is to even, like OpenCV's.
        height, width = round(height * params.scale_step), round(width * params.scale_step)
        if height < 16 or width < 16:
            break
        sizes.append((height, width))
    return sizes


def pyramid(frame: F32, sizes: list[tuple[int, int]], params: TVL1Params) -> list[F32]:
    """Each level is the one before, sampled every 1/scale_step pixels without blur."""
    levels = [frame]
    for size in sizes[1:]:
        level = np.empty((1, *size), np.float32)
        # Not the ratio of the sizes: a level whose size was rounded is still sampled in steps of 1/scale_step.
        resize.linear_f32(levels[-1][None], level, 1 / params.scale_step, 1 / params.scale_step)
        levels.append(level[0])
    return levels


class Workspace:
    """The planes of one frame pair, made once and cut to each level's size."""

    def __init__(self, sizes: list[tuple[int, int]]) -> None:
        self.sizes = sizes
        height, width = sizes[0]
        pitch = self._pitch(width)
        self._planes = _aligned(11 * (height + 2 * ROWS) * pitch)
        self._image = np.zeros((height + 2 * RIM) * (width + 2 * RIM) * 4, np.float32)
        self.rows = np.arange(height + 2 * ROWS, dtype=np.uint64)
        self.change = np.empty(pitch, np.int32)
        self.weights = np.empty((8, width), np.float32)
        self.sampled = np.empty((width, 4), np.float32)
        self.columns = np.zeros((5, pitch), np.float32)

    @staticmethod
    def _pitch(width: int) -> int:
        return (width + LANES - 1) // LANES * LANES + LANES

    def planes(self, size: tuple[int, int]) -> list[F32]:
        """Eleven zeroed planes for a level: u1, u2, p11, p12, p21, p22, gx, gy, rho_c, step and one to copy to."""
        height, width = size
        shape = (11, height + 2 * ROWS, self._pitch(width))
        cut = self._planes[: shape[0] * shape[1] * shape[2]].reshape(shape)
        cut[:] = 0
        return list(cut)

    def image(self, size: tuple[int, int]) -> F32:
        """A zeroed image with a rim, for `gradients`."""
        shape = (size[0] + 2 * RIM, size[1] + 2 * RIM, 4)
        cut = self._image[: shape[0] * shape[1] * shape[2]]
        cut[:] = 0
        return cut.reshape(shape)


def _aligned(length: int) -> F32:
    """Zeros that begin at a multiple of 64 bytes."""
    raw = np.zeros(length + LANES, np.float32)
    start = -raw.ctypes.data % 64 // 4
    return raw[start : start + length]


def solve_pair(first: list[F32], second: list[F32], room: Workspace, params: TVL1Params, out: F32) -> int:
    """Flow between two pyramids into float32 [H, W, 2], coarse to fine. Returns the inner iterations made."""
    flow = np.zeros((2, *room.sizes[-1]), np.float32)
    made = 0
    for level in range(len(room.sizes) - 1, -1, -1):
        height, width = room.sizes[level]
        planes, image = room.planes((height, width)), room.image((height, width))
        inside = np.s_[ROWS : ROWS + height, :width]
        if level < len(room.sizes) - 1:
            coarse_height, coarse_width = flow.shape[1:]
            finer = np.empty((2, height, width), np.float32)
            resize.linear_f32(flow, finer, coarse_height / height, coarse_width / width)
            flow = finer * np.float32(1 / params.scale_step)
        planes[0][inside], planes[1][inside] = flow
        gradients(second[level], image)
        threshold = params.epsilon * params.epsilon * height * width
        unit = min(STOP_UNITS / threshold, UNIT_CAP) if threshold else UNIT_CAP
        made += solve_level(
            first[level],
            image.reshape(-1),
            *planes[:10],
            room.rows,
            room.change,
            room.weights,
            room.sampled,
            planes[10],
            room.columns,
            params.warps,
            params.outer_iterations,
            params.inner_iterations,
            params.median_filtering,
            np.float32(params.lambda_ * params.theta),
            np.float32(params.theta),
            np.float32(params.tau / params.theta),
            np.float32(unit),
            int(threshold * unit),
        )
        flow = np.stack((planes[0][inside], planes[1][inside]))
    out[:, :, 0], out[:, :, 1] = flow
    return made


def tvl1(frames: npt.NDArray[Any], params: TVL1Params) -> F32:
    """Flow between consecutive frames [T, H, W] of grey values 0..255. A frame's pyramid serves both of its pairs."""
    count, height, width = frames.shape
    sizes = level_sizes(height, width, params)
    room = Workspace(sizes)
    out = np.empty((count - 1, height, width, 2), np.float32)
    previous = pyramid(frames[0].astype(np.float32, order="C"), sizes, params)
    for t in range(count - 1):
        current = pyramid(frames[t + 1].astype(np.float32, order="C"), sizes, params)
        solve_pair(previous, current, room, params, out[t])
        previous = current
    return out
