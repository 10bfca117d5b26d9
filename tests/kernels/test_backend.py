"""The registry of backends, and what every registered one must compute bit for bit."""

import sys
from collections.abc import Iterator
from types import ModuleType

import numpy as np
import pytest

from tests import gpu, naive
from vstats.kernels import backend, patterns
from vstats.kernels.cpu_backend import CPU
from vstats.kernels.errors import BackendUnavailable, InputError

pytestmark = pytest.mark.matrix

LAYOUT = patterns.layout(tuple(patterns.get(name) for name in patterns.STANDARD), 8)


@pytest.fixture(params=backend.names())
def computes(request: pytest.FixtureRequest) -> backend.Backend:
    if request.param == "cuda":
        gpu.require()
    return backend.load(request.param)


@pytest.fixture
def another() -> Iterator[str]:
    module = ModuleType("vstats_another_backend")
    module.Another = type("Another", (CPU,), {})  # type: ignore[attr-defined]
    sys.modules[module.__name__] = module
    backend.register("another", f"{module.__name__}:Another")
    yield "another"
    backend.unregister("another")
    del sys.modules[module.__name__]


def test_a_backend_has_the_bits_of_the_plain_loops(computes: backend.Backend) -> None:
    rng = np.random.default_rng(5)
    flow = (rng.integers(-99, 99, (3, 9, 10, 2)) / np.float32(7)).astype(np.float32)
    rgb = rng.integers(0, 256, (3, 9, 10, 3), np.uint8)
    corners = np.array([(1, 2), (0, 0)], np.int64)
    summed, frames = computes.boundaries(flow, corners, 8, 2)
    assert (summed.shape, frames.shape) == ((2, 9, 10, 2), (2, 2, 2))
    votes = computes.orientations(summed, 1, 2, LAYOUT)
    overlap, colours = computes.colours(rgb, 1, 2, LAYOUT)
    # The plain loops sum one field fewer than there are frames: ask them for the same three.
    _, wanted, _ = naive.clip(np.concatenate([rgb, rgb[:1]]), flow, (1, 2), 8)
    for c, name in enumerate("uv"):
        assert [naive.stored(n) for n in frames[0, c].tolist()] == wanted[f"motion/global/{name}_frames"][:2]
        for p in patterns.STANDARD:
            found = [[naive.stored(n) for n in bins] for bins in votes[c, LAYOUT.columns[p][0]].tolist()]
            assert found == wanted[f"motion/{p}/{name}_orientation"]
    _, wanted, _ = naive.clip(rgb, flow[:2], (1, 2), 8)
    assert colours[-1].tolist() == wanted["appearance/global/colours"]
    for p in patterns.STANDARD:
        assert colours[LAYOUT.columns[p][0]].tolist() == wanted[f"appearance/{p}/colours"]
        ratio = overlap[LAYOUT.columns[p][0]].astype(np.float32)
        ratio = ratio[..., 0] / ratio[..., 1]
        assert ((ratio[:, 0] + ratio[:, 1] + ratio[:, 2]) / np.float32(3)).tolist() == wanted[
            f"appearance/{p}/iou"
        ]
    assert (
        computes.quantised(flow).tobytes()
        == np.array([naive.eight_bits(f) for f in flow.reshape(-1)], np.float32).tobytes()
    )
    assert computes.is_finite(flow)
    assert not computes.is_finite(np.full((1, 2, 3, 2), np.nan, np.float32))


def test_a_backend_is_loaded_when_it_is_first_used(another: str) -> None:
    assert backend.names() == ("cpu", "cuda", "another")
    assert backend.load(another) is backend.load(another)
    assert type(backend.load(another)).__name__ == "Another"
    with pytest.raises(InputError, match="registered already"):
        backend.register("cpu", "somewhere:Else")
    with pytest.raises(InputError, match="built in"):
        backend.unregister("cpu")


def test_a_backend_that_is_not_there_is_named() -> None:
    with pytest.raises(InputError, match="no backend is called 'tpu'; known: cpu, cuda"):
        backend.load("tpu")
    backend.register("broken", "vstats_no_such_module:Broken")
    try:
        with pytest.raises(BackendUnavailable, match="backend 'broken' cannot be loaded: No module named"):
            backend.load("broken")
    finally:
        backend.unregister("broken")
