"""TV-L1 on one pyramid level: the cubic warp, the median filter and the primal-dual iteration.

The arithmetic is strict float32 in the order written, over vectors of 16 floats whatever the machine has: LLVM makes
one, two or four registers of a vector, and no lane depends on another, so the bits are the same everywhere. Plain
loops cost twice the time here: LLVM begins each row of the iteration with a hundred comparisons of whether the arrays
overlap, and leaves the cubic samples scalar.

A level lives in two arrays. `planes` is float32 [11, H + 4, S], `S` being 16 more than W rounded up to 16: two rows
above and below the picture, 16 columns to its left, and what is left over to its right. Pixel (y, x) of plane n stands
at [n, y + 2, x + 16]. The rim of the dual field stays zero. Vectors that reach over the right edge write there what
nothing reads. `rows` is float32 [74, S], single rows of the same width. ``I0``, ``U1`` ... and ``UNIT`` ... say what
stands where.

"IPOL" is Sanchez Perez, Meinhardt-Llopis, Facciolo, "TV-L1 Optical Flow Estimation", IPOL 2013.
"""

import operator
from collections.abc import Callable
from typing import Any, TypeVar, cast

import llvmlite.ir
import numba.core.cgutils
import numba.core.typing.templates
import numba.extending
import numpy as np
import numpy.typing as npt

from vstats.kernels.cpu.jit import kernel

F32 = npt.NDArray[np.float32]
I32 = npt.NDArray[np.int32]
F = TypeVar("F", bound=Callable[..., Any])

# Numba and llvmlite are untyped or nearly so.
ir: Any = llvmlite.ir
types: Any = numba.types
templates: Any = numba.core.typing.templates
extending: Any = numba.extending
cgutils: Any = numba.core.cgutils

I0, U1, U2, P11, P12, P21, P22, GX, GY, RHO_C, STEP = range(11)
PLANES = 11
UNIT, EDGE, ACROSS, DOWN, SAMPLED, ROOM = 0, 1, 2, 6, 10, 14  # 1, 1, 4, 4, 4 and 60 rows
ROWS = 74

TOP = 2  # rows of rim above and below a plane
LEFT = 16  # columns of rim to the left of a plane
LANES = 16  # floats in a vector
RIM = 4  # zeros around a warped image: where all cubic taps fall when a position is far outside

ZERO, HALF, ONE, TWO, THREE = (np.float32(value) for value in (0, 0.5, 1, 2, 3))
EPS = np.float32(np.finfo(np.float32).eps)
CUBIC = np.float32(-0.75)  # A, the free parameter of cubic interpolation, as OpenCV has it
FOUR_A, FIVE_A, EIGHT_A = (np.float32(value) * CUBIC for value in (4, 5, 8))
CHANGE_CAP = np.float32(2**30)  # one pixel's squared change saturates here, in the units of the stop test


# ------------------------------------------------------------------------------------------ vectors in Numba


class Vector(types.Type):  # type: ignore[misc]
    """A SIMD vector of 16 values; only the functions below make and take one."""

    def __init__(self, name: str, element: Any) -> None:
        self.element = element
        super().__init__(name=name)


class VectorModel(extending.models.PrimitiveModel):  # type: ignore[misc]
    def __init__(self, manager: Any, kind: Vector) -> None:
        super().__init__(manager, kind, ir.VectorType(kind.element, LANES))


extending.register_model(Vector)(VectorModel)

f32, i32, i64 = ir.FloatType(), ir.IntType(32), ir.IntType(64)
FLOATS, SUMS = Vector("float32x16", f32), Vector("int64x16", i64)
FLOAT, INDEX, NOTHING = types.float32, types.intp, types.none


def _inlined(function: F) -> F:
    """Compile a helper into its callers, vectors and all."""
    return cast(F, numba.njit(error_model="numpy", inline="always")(function))


def _instruction(function: Callable[..., Any]) -> Any:
    """Make a Numba function of one that takes types, and returns a signature and what emits LLVM instructions."""
    return extending.intrinsic(prefer_literal=True)(function)


for _operator, _name in (
    (operator.add, "fadd"),
    (operator.sub, "fsub"),
    (operator.mul, "fmul"),
    (operator.truediv, "fdiv"),
):
    cases = [templates.signature(FLOATS, FLOATS, FLOATS)]
    templates.infer_global(_operator)(type(_name, (templates.ConcreteTemplate,), {"cases": cases}))
    extending.lower_builtin(_operator, FLOATS, FLOATS)(
        lambda _context, builder, _signature, args, name=_name: getattr(builder, name)(*args)
    )


def _shuffle(builder: Any, value: Any, lanes: list[int]) -> Any:
    return builder.shuffle_vector(value, value, ir.Constant(ir.VectorType(i32, len(lanes)), lanes))


def _spread(builder: Any, value: Any, lanes: int = LANES) -> Any:
    one = builder.insert_element(ir.Constant(ir.VectorType(f32, lanes), ir.Undefined), value, i32(0))
    return _shuffle(builder, one, [0] * lanes)


def _at(context: Any, builder: Any, kind: Any, array: Any, place: Any, vector: Any) -> Any:
    """The address of `vector` at an index into a C-contiguous array, without bounds check or wrap-around."""
    view = context.make_array(kind)(context, builder, array)
    offset = place[0]
    for axis, index in enumerate(place[1:], start=1):
        offset = builder.add(builder.mul(offset, builder.extract_value(view.shape, axis)), index)
    return builder.bitcast(builder.gep(view.data, [offset]), vector.as_pointer())


@_instruction
def load(_typing: Any, planes: Any, plane: Any, row: Any, column: Any) -> Any:
    """The 16 floats from ``planes[plane, row, column]`` on."""

    def emit(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        place = _at(context, builder, sig.args[0], args[0], args[1:], ir.VectorType(f32, LANES))
        return builder.load(place, align=4)

    return FLOATS(planes, INDEX, INDEX, INDEX), emit


@_instruction
def store(_typing: Any, planes: Any, plane: Any, row: Any, column: Any, value: Any) -> Any:
    def emit(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        place = _at(context, builder, sig.args[0], args[0], args[1:4], ir.VectorType(f32, LANES))
        builder.store(args[4], place, align=4)
        return context.get_dummy_value()

    return NOTHING(planes, INDEX, INDEX, INDEX, FLOATS), emit


@_instruction
def load_row(_typing: Any, rows: Any, row: Any, column: Any) -> Any:
    """The 16 floats from ``rows[row, column]`` on."""

    def emit(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        place = _at(context, builder, sig.args[0], args[0], args[1:], ir.VectorType(f32, LANES))
        return builder.load(place, align=4)

    return FLOATS(rows, INDEX, INDEX), emit


@_instruction
def load_channel(_typing: Any, array: Any, row: Any, column: Any, channel: Any) -> Any:
    """Every fourth float of ``array[row, column:]``, 16 of them, from `channel` (a literal) on."""
    first = channel.literal_value

    def emit(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        place = _at(context, builder, sig.args[0], args[0], args[1:3], ir.VectorType(f32, 4 * LANES))
        wide = builder.load(place, align=4)
        return _shuffle(builder, wide, [4 * n + first for n in range(LANES)])

    return FLOATS(array, INDEX, INDEX, channel), emit


@_instruction
def load_ranks(_typing: Any, array: Any, row: Any, column: Any, count: Any) -> Any:
    """A tuple of the vectors at `column` of `count` (a literal) rows."""
    ranks = count.literal_value

    def emit(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        rows = [builder.add(args[1], i64(n)) for n in range(ranks)]
        kind = ir.VectorType(f32, LANES)
        values = [
            builder.load(_at(context, builder, sig.args[0], args[0], (r, args[2]), kind), align=4)
            for r in rows
        ]
        return context.make_tuple(builder, sig.return_type, values)

    return types.UniTuple(FLOATS, ranks)(array, INDEX, INDEX, count), emit


@_instruction
def store_ranks(_typing: Any, array: Any, row: Any, column: Any, ranks: Any) -> Any:
    """Store a tuple of vectors at `column` of successive rows."""

    def emit(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        for n, value in enumerate(cgutils.unpack_tuple(builder, args[3])):
            row = builder.add(args[1], i64(n))
            place = _at(context, builder, sig.args[0], args[0], (row, args[2]), value.type)
            builder.store(value, place, align=4)
        return context.get_dummy_value()

    return NOTHING(array, INDEX, INDEX, ranks), emit


@_instruction
def store_whole(_typing: Any, array: Any, row: Any, column: Any, value: Any) -> Any:
    """Store floats that hold whole numbers as int32."""

    def emit(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        whole = builder.fptosi(args[3], ir.VectorType(i32, LANES))
        builder.store(whole, _at(context, builder, sig.args[0], args[0], args[1:3], whole.type), align=4)
        return context.get_dummy_value()

    return NOTHING(array, INDEX, INDEX, FLOATS), emit


@_instruction
def spread(_typing: Any, value: Any) -> Any:
    """A scalar in every lane."""
    return FLOATS(FLOAT), lambda _context, builder, _sig, args: _spread(builder, args[0])


@_instruction
def count_from(_typing: Any, value: Any) -> Any:
    """``value + 0, value + 1, ... value + 15``."""

    def emit(_context: Any, builder: Any, _sig: Any, args: Any) -> Any:
        return builder.fadd(
            _spread(builder, args[0]),
            ir.Constant(ir.VectorType(f32, LANES), [float(n) for n in range(LANES)]),
        )

    return FLOATS(FLOAT), emit


def _lower(builder: Any, a: Any, b: Any) -> Any:
    return builder.select(builder.fcmp_ordered("<", a, b), a, b)


def _higher(builder: Any, a: Any, b: Any) -> Any:
    return builder.select(builder.fcmp_ordered("<", a, b), b, a)


@_instruction
def lo(_typing: Any, a: Any, b: Any) -> Any:
    """``a if a < b else b``, so b where a is NaN."""
    return FLOATS(FLOATS, FLOATS), lambda _context, builder, _sig, args: _lower(builder, *args)


@_instruction
def hi(_typing: Any, a: Any, b: Any) -> Any:
    """``b if a < b else a``."""
    return FLOATS(FLOATS, FLOATS), lambda _context, builder, _sig, args: _higher(builder, *args)


@_instruction
def where_above(_typing: Any, value: Any, bound: Any, chosen: Any, other: Any) -> Any:
    """``chosen if value > bound else other``."""

    def emit(_context: Any, builder: Any, _sig: Any, args: Any) -> Any:
        return builder.select(builder.fcmp_ordered(">", args[0], args[1]), args[2], args[3])

    return FLOATS(FLOATS, FLOATS, FLOATS, FLOATS), emit


@_instruction
def root(_typing: Any, value: Any) -> Any:
    """Correctly rounded square root."""

    def emit(_context: Any, builder: Any, _sig: Any, args: Any) -> Any:
        kind = ir.FunctionType(args[0].type, [args[0].type])
        return builder.call(
            cgutils.get_or_insert_function(builder.module, kind, f"llvm.sqrt.v{LANES}f32"), args
        )

    return FLOATS(FLOATS), emit


@_instruction
def floor(_typing: Any, value: Any) -> Any:
    """The next whole number below; for values that fit int32."""

    def emit(_context: Any, builder: Any, _sig: Any, args: Any) -> Any:
        toward_zero = builder.sitofp(builder.fptosi(args[0], ir.VectorType(i32, LANES)), args[0].type)
        below = builder.fsub(toward_zero, ir.Constant(args[0].type, [1.0] * LANES))
        return builder.select(builder.fcmp_ordered(">", toward_zero, args[0]), below, toward_zero)

    return FLOATS(FLOATS), emit


@_instruction
def no_sums(_typing: Any) -> Any:
    return SUMS(), lambda _context, _builder, _sig, _args: ir.Constant(ir.VectorType(i64, LANES), [0] * LANES)


@_instruction
def tally(_typing: Any, sums: Any, value: Any) -> Any:
    """Add the whole part of `value` to int64 sums; whole numbers add up to the same in any order."""

    def emit(_context: Any, builder: Any, _sig: Any, args: Any) -> Any:
        whole = builder.fptosi(args[1], ir.VectorType(i32, LANES))
        return builder.add(args[0], builder.sext(whole, args[0].type))

    return SUMS(SUMS, FLOATS), emit


@_instruction
def total_of(_typing: Any, sums: Any) -> Any:
    def emit(_context: Any, builder: Any, _sig: Any, args: Any) -> Any:
        total = i64(0)
        for n in range(LANES):
            total = builder.add(total, builder.extract_element(args[0], i32(n)))
        return total

    return types.int64(SUMS), emit


@_instruction
def merged(_typing: Any, a: Any, b: Any) -> Any:
    """Merge two sorted tuples of vectors, lane by lane: Batcher's odd-even network for any two lengths.

    What a caller does not use of the result costs nothing: LLVM removes the comparators behind it.
    """

    def emit(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        def merge(left: list[Any], right: list[Any]) -> list[Any]:
            if not left or not right:
                return left + right
            if len(left) == len(right) == 1:
                return [_lower(builder, left[0], right[0]), _higher(builder, left[0], right[0])]
            evens, odds = merge(left[::2], right[::2]), merge(left[1::2], right[1::2])
            result = evens[:1]
            for n in range(max(len(evens) - 1, len(odds))):
                if n < len(odds) and n + 1 < len(evens):
                    result += [
                        _lower(builder, odds[n], evens[n + 1]),
                        _higher(builder, odds[n], evens[n + 1]),
                    ]
                else:
                    result += odds[n : n + 1] + evens[n + 1 : n + 2]
            return result

        values = merge(*(cgutils.unpack_tuple(builder, arg) for arg in args))
        return context.make_tuple(builder, sig.return_type, values)

    return types.UniTuple(FLOATS, len(a) + len(b))(a, b), emit


# ------------------------------------------------------------------------------------------ the iteration


@_inlined
def _update_u(planes: F32, rows: F32, y: int, x: int, reach: np.float32, theta: np.float32, sums: Any) -> Any:
    """Threshold the residual along the gradient (the operator TH of IPOL, as one clamp), then ``u = v + theta div p``."""
    a, b = load(planes, U1, y, x), load(planes, U2, y, x)
    ix, iy = load(planes, GX, y, x), load(planes, GY, y, x)
    along = (load(planes, RHO_C, y, x) + (ix * a + iy * b)) * load(planes, STEP, y, x)
    along = lo(hi(along, spread(-reach)), spread(reach))
    div1 = (load(planes, P11, y, x) - load(planes, P11, y, x - 1)) + (
        load(planes, P12, y, x) - load(planes, P12, y - 1, x)
    )
    div2 = (load(planes, P21, y, x) - load(planes, P21, y, x - 1)) + (
        load(planes, P22, y, x) - load(planes, P22, y - 1, x)
    )
    new_a = (a + along * ix) + spread(theta) * div1
    new_b = (b + along * iy) + spread(theta) * div2
    store(planes, U1, y, x, new_a)
    store(planes, U2, y, x, new_b)
    da, db = new_a - a, new_b - b
    change = (da * da + db * db) * load_row(rows, UNIT, x) + spread(HALF)
    return tally(sums, lo(change, spread(CHANGE_CAP)))


@_inlined
def _update_p(planes: F32, rows: F32, down: np.float32, y: int, x: int) -> None:
    """``p = (p + G) / (1 + |G|)`` with ``G = tau/theta grad u``: a step of the dual fixed point.

    The row `EDGE` and `down` are tau/theta, and 0 where the forward difference would leave the picture.
    """
    a, b, one = load(planes, U1, y, x), load(planes, U2, y, x), spread(ONE)
    right, below = load_row(rows, EDGE, x), spread(down)
    ax, ay = right * (load(planes, U1, y, x + 1) - a), below * (load(planes, U1, y + 1, x) - a)
    bx, by = right * (load(planes, U2, y, x + 1) - b), below * (load(planes, U2, y + 1, x) - b)
    shrink_a = one / (one + root(ax * ax + ay * ay))
    shrink_b = one / (one + root(bx * bx + by * by))
    store(planes, P11, y, x, (load(planes, P11, y, x) + ax) * shrink_a)
    store(planes, P12, y, x, (load(planes, P12, y, x) + ay) * shrink_a)
    store(planes, P21, y, x, (load(planes, P21, y, x) + bx) * shrink_b)
    store(planes, P22, y, x, (load(planes, P22, y, x) + by) * shrink_b)


@kernel
def iterate(
    planes: F32, rows: F32, H: int, W: int, reach: np.float32, theta: np.float32, taut: np.float32,
    stop: int, most: int,
) -> tuple[int, int]:  # fmt: skip
    """Inner iterations in place, until one changes u by `stop` or less, or `most` are made.

    Returns how many, and the last one's summed squared change of u in the whole units of the row `UNIT`.

    When row y of u is new, p of row y - 1 could follow at once. It follows one row later, so that no row waits for what
    the row before has just stored.
    """
    first, last = TOP, H + TOP - 1
    made, change = 0, stop + 1
    while made < most and change > stop:
        sums = no_sums()
        for y in range(first, last + 3):
            down = taut if y - 2 < last else ZERO
            for x in range(LEFT, LEFT + W, LANES):
                if y <= last:
                    sums = _update_u(planes, rows, y, x, reach, theta, sums)
                if y - 2 >= first:
                    _update_p(planes, rows, down, y - 2, x)
        change = total_of(sums)
        made += 1
    return made, change


# ------------------------------------------------------------------------------------------ the median filter


@_inlined
def _replicate(planes: F32, n: int, y: int, W: int) -> None:
    """Give the pixels beside row y of the picture the value of its border."""
    planes[n, y, LEFT - 1] = planes[n, y, LEFT - 2] = planes[n, y, LEFT]
    planes[n, y, LEFT + W] = planes[n, y, LEFT + W + 1] = planes[n, y, LEFT + W - 1]


@_inlined
def _sort_row(planes: F32, n: int, rows: F32, y: int, W: int, slot: int) -> None:
    """Sort the five pixels about each pixel of row y into five rows of `rows`."""
    for x in range(LEFT, LEFT + W, LANES):
        a, b, c = (load(planes, n, y, x - 2),), (load(planes, n, y, x - 1),), (load(planes, n, y, x),)
        d, e = (load(planes, n, y, x + 1),), (load(planes, n, y, x + 2),)
        store_ranks(rows, slot, x, merged(merged(a, b), merged(c, merged(d, e))))


@_inlined
def _median_with(s: Any, c: Any) -> Any:
    """The 13th of 25 from ranks 8 to 13 of twenty, s, and the other five in order, c: the sixth of these eleven."""
    low = lo(lo(hi(s[4], c[0]), hi(s[3], c[1])), lo(hi(s[2], c[2]), hi(s[1], c[3])))
    return lo(low, lo(hi(s[0], c[4]), s[5]))


@kernel
def median5(planes: F32, rows: F32, H: int, W: int) -> None:
    """5 x 5 median of both planes of u in place, border replicated.

    Two rows of medians at a time. Their windows share four rows, and the next two share two of these again: a pair of
    sorted rows is merged once, two pairs once for two medians, and of those 20 only ranks 8 to 13 can be the 13th of
    25. That one is found among these six and the five of the window's own row.
    """
    first, last = TOP, H + TOP - 1
    # Eight slots of five sorted rows, taken in turn, and two slots of ten for a merged pair.
    pairs = ROOM + 40
    for n in range(U1, U2 + 1):
        for y in range(first, last + 1):
            _replicate(planes, n, y, W)
        for y in range(first - 4, last + 1, 2):
            for below in range(y + 2, y + 4):
                _sort_row(planes, n, rows, min(max(below, first), last), W, ROOM + below % 8 * 5)
            if y >= first - 2:
                above, row1 = ROOM + (y - 2) % 8 * 5, ROOM + (y + 1) % 8 * 5
                row2, row3 = ROOM + (y + 2) % 8 * 5, ROOM + (y + 3) % 8 * 5
                old, new = pairs + y // 2 % 2 * 10, pairs + (y // 2 + 1) % 2 * 10
                for x in range(LEFT, LEFT + W, LANES):
                    pair = merged(load_ranks(rows, row1, x, 5), load_ranks(rows, row2, x, 5))
                    store_ranks(rows, new, x, pair)
                    if y >= first:
                        shared = merged(load_ranks(rows, old, x, 10), pair)[7:13]
                        store(planes, n, y, x, _median_with(shared, load_ranks(rows, above, x, 5)))
                        # Below the last row this writes to the rim.
                        store(planes, n, y + 1, x, _median_with(shared, load_ranks(rows, row3, x, 5)))


@kernel
def median3(planes: F32, rows: F32, H: int, W: int) -> None:
    """3 x 3 median of both planes of u in place, border replicated."""
    first, last = TOP, H + TOP - 1
    for n in range(U1, U2 + 1):
        for y in range(first, last + 1):
            _replicate(planes, n, y, W)
        for y in range(first - 1, last + 2):
            row, slot = min(max(y, first), last), ROOM + y % 3 * 3
            for x in range(LEFT, LEFT + W, LANES):
                a, b = (load(planes, n, row, x - 1),), (load(planes, n, row, x),)
                store_ranks(rows, slot, x, merged(merged(a, b), (load(planes, n, row, x + 1),)))
            if y > first:
                for x in range(LEFT, LEFT + W, LANES):
                    a, b = load_ranks(rows, ROOM, x, 3), load_ranks(rows, ROOM + 3, x, 3)
                    ranks = merged(merged(a, b), load_ranks(rows, ROOM + 6, x, 3))
                    store(planes, n, y - 1, x, ranks[4])


# ------------------------------------------------------------------------------------------ the warp


def gradients(image: F32, rimmed: F32) -> None:
    """[H, W] into [H + 8, 4 (W + 8)]: a pixel's value, its central differences along x and y, and 0, in a rim of zeros.

    The pixel outside the image is the border pixel, so a border difference is half of a one-sided one.
    """
    H, W = image.shape
    inside = rimmed.reshape(H + 2 * RIM, W + 2 * RIM, 4)[RIM:-RIM, RIM:-RIM]
    value, dx, dy = (inside[:, :, n] for n in range(3))
    value[:] = image
    np.subtract(image[:, 2:], image[:, :-2], out=dx[:, 1:-1])
    np.subtract(image[2:], image[:-2], out=dy[1:-1])
    for x in {0, W - 1}:
        dx[:, x] = image[:, min(x + 1, W - 1)] - image[:, max(x - 1, 0)]
    for y in {0, H - 1}:
        dy[y] = image[min(y + 1, H - 1)] - image[max(y - 1, 0)]
    dx *= HALF
    dy *= HALF


@_instruction
def _blend_4x4(_typing: Any, image: Any, row: Any, column: Any, rows: Any, x: Any, at: Any) -> Any:
    """Blend the 4 x 4 pixels of four channels from ``image[row, column]`` on into ``rows[SAMPLED, at : at + 4]``.

    A row of four pixels is one vector: the rows are blended with the weights `DOWN` at x, then the four pixels of the
    result with the weights `ACROSS`.
    """

    def emit(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        def weight(n: int, lanes: int) -> Any:
            place = _at(context, builder, sig.args[3], args[3], (i64(n), args[4]), f32)
            return _spread(builder, builder.load(place), lanes)

        def pixels(n: int) -> Any:
            line = builder.add(args[1], i64(n))
            place = _at(context, builder, sig.args[0], args[0], (line, args[2]), ir.VectorType(f32, LANES))
            return builder.load(place, align=4)

        column = builder.fmul(weight(DOWN, LANES), pixels(0))
        for n in range(1, 4):
            column = builder.fadd(column, builder.fmul(weight(DOWN + n, LANES), pixels(n)))
        quarters = [_shuffle(builder, column, [4 * n, 4 * n + 1, 4 * n + 2, 4 * n + 3]) for n in range(4)]
        pixel = builder.fmul(weight(ACROSS, 4), quarters[0])
        for n in range(1, 4):
            pixel = builder.fadd(pixel, builder.fmul(weight(ACROSS + n, 4), quarters[n]))
        place = _at(context, builder, sig.args[3], args[3], (i64(SAMPLED), args[5]), pixel.type)
        builder.store(pixel, place, align=4)
        return context.get_dummy_value()

    return NOTHING(image, INDEX, INDEX, rows, INDEX, INDEX), emit


@_inlined
def _cubic_weights(rows: F32, row: int, x: int, t: Any) -> None:
    """The four weights of cubic convolution (Keys 1981, a = A) at the distance t from the second tap."""
    one, a, a2, a3 = spread(ONE), spread(CUBIC), spread(CUBIC + TWO), spread(CUBIC + THREE)
    far, rest = t + one, one - t
    w0 = ((a * far - spread(FIVE_A)) * far + spread(EIGHT_A)) * far - spread(FOUR_A)
    w1 = (a2 * t - a3) * t * t + one
    w2 = (a2 * rest - a3) * rest * rest + one
    store_ranks(rows, row, x, (w0, w1, w2, one - w0 - w1 - w2))


@kernel
def warp(planes: F32, image: F32, rows: F32, corner: I32, H: int, W: int) -> None:
    """Sample I1 and its gradient at x + u by cubic interpolation; precompute what the iterations need of them.

    ``rho_c = I1w - gx u1 - gy u2 - I0`` and ``step = -1 / |grad|^2``, 0 where the gradient vanishes.
    `image` is I1 as `gradients` made it; `corner` is room for int32 [2, S].
    """
    one, zero, rim = spread(ONE), spread(ZERO), spread(THREE)
    for y in range(TOP, H + TOP):
        for x in range(LEFT, LEFT + W, LANES):
            # Beyond these bounds all taps lie in the rim of zeros, as they do at the bound.
            px = count_from(np.float32(x - LEFT)) + load(planes, U1, y, x)
            py = spread(np.float32(y - TOP)) + load(planes, U2, y, x)
            px = lo(hi(spread(-THREE), px), spread(np.float32(W + 1)))
            py = lo(hi(spread(-THREE), py), spread(np.float32(H + 1)))
            left, top = floor(px), floor(py)
            _cubic_weights(rows, ACROSS, x, px - left)
            _cubic_weights(rows, DOWN, x, py - top)
            store_whole(corner, 0, x, left + rim)
            store_whole(corner, 1, x, top + rim)
        for x in range(LEFT, LEFT + W):
            _blend_4x4(image, corner[1, x], 4 * corner[0, x], rows, x, 4 * x)
        for x in range(LEFT, LEFT + W, LANES):
            value = load_channel(rows, SAMPLED, 4 * x, 0)
            ix, iy = load_channel(rows, SAMPLED, 4 * x, 1), load_channel(rows, SAMPLED, 4 * x, 2)
            grad = ix * ix + iy * iy
            store(planes, GX, y, x, ix)
            store(planes, GY, y, x, iy)
            rho_c = (value - ix * load(planes, U1, y, x)) - iy * load(planes, U2, y, x)
            store(planes, RHO_C, y, x, rho_c - load(planes, I0, y, x))
            store(planes, STEP, y, x, where_above(grad, spread(EPS), (zero - one) / grad, zero))
