"""Backends: who does the arithmetic of flow and labels. Each is loaded when it is first used.

A backend may be absent, heavy or broken, and nobody who does not use it should notice: the registry holds names only.
Whatever a backend is, it returns the same bits (see `vstats.kernels.cpu`, which is the definition).
"""

import importlib
from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from vstats.kernels.contract import TVL1Params
from vstats.kernels.errors import BackendUnavailable, InputError
from vstats.kernels.patterns import Layout

U8 = npt.NDArray[np.uint8]
F32 = npt.NDArray[np.float32]
I64 = npt.NDArray[np.int64]

Native = Any
"""An array where the backend computes: NumPy's own on the CPU, the device's elsewhere. It has a shape and takes slices."""


class Backend(Protocol):
    """What flow and the label stage ask of a backend."""

    name: str
    """What computes, for people and records: the processor's kind, or the GPU's name."""

    versions: dict[str, str]
    """Name -> version of what it computes with, where that is not always installed."""

    count: int
    """Devices of this kind on this machine; this is one of them."""

    def wait(self) -> None:
        """Return when all that was asked for is computed: flow and resizing may return before."""

    def take(self, array: npt.NDArray[Any] | Native) -> Native:
        """Return an array where the backend computes, in C order: itself where it is there, else a copy."""

    def give(self, array: Native) -> npt.NDArray[Any]:
        """Return a native array as NumPy's."""

    def tvl1(self, clips: Sequence[npt.NDArray[Any]], params: TVL1Params) -> list[Native]:
        """Return TV-L1 flow, float32 [T-1, H, W, 2], of every clip: grey uint8 or float32 [T, H, W].

        All clips are of one dtype, height and width. Many at once is what a GPU wants; to the bits it is all the same.
        """

    def joined(self, parts: Sequence[Native]) -> Native:
        """Return native arrays that differ in their first axis alone, one after another in one."""

    def resized(
        self, flow: Native, size: tuple[int, int], scale: tuple[np.float32, np.float32] | None
    ) -> Native:
        """Return flow resized bilinearly to [F, h, w, 2], u and v multiplied by `scale` where there is one."""

    def is_finite(self, flow: Native) -> bool:
        """Tell whether no value of the array is an infinity or NaN."""

    def quantised(self, flow: Native) -> Native:
        """Return flow stored in 8 bits over -20..20 pixels and read back."""

    def boundaries(self, flow: Native, corners: I64, size: int, frames_compared: int) -> tuple[Native, I64]:
        """Return motion boundaries of float32 [F, H, W, 2].

        Their sum over the clip, native float32 [2 (d/dx, d/dy), H, W, 2 (u, v)]; and the magnitude of the first G fields
        over the crops of `size` at `corners` int64 [C, 2 (y, x)], int64 [C, 2 (u, v), G] in 1/65536 pixel.
        """

    def orientations(self, summed: Native, y: int, x: int, layout: Layout) -> I64:
        """Return the summed boundary of the crop at (y, x) by block and direction, int64 [2 (u, v), B, 8]."""

    def colours(self, rgb: Native, y: int, x: int, layout: Layout) -> tuple[I64, I64]:
        """Return colours of the crop at (y, x) of uint8 [T, H, W, 3].

        Intersection and union of the histograms over time, int64 [B - 1, 3 (R, G, B), 2], for all blocks but the last,
        which is the whole crop; and pixels by colour class over all frames, int64 [B, 8].
        """


_REGISTRY = {"cpu": "vstats.kernels.cpu_backend:CPU", "cuda": "vstats.kernels.cuda_backend:CUDA"}
_LOADED: dict[str, Backend] = {}
_BUILT_IN = tuple(_REGISTRY)


def register(name: str, where: str) -> None:
    """Add a backend under a free name, as "module:Class"; the class is made without arguments, when first used."""
    if name in _REGISTRY:
        raise InputError(f"backend {name!r} is registered already, as {_REGISTRY[name]}")
    _REGISTRY[name] = where


def unregister(name: str) -> None:
    """Forget a backend that was added; the built-in ones stay."""
    if name in _BUILT_IN:
        raise InputError(f"{name} is built in and stays")
    _REGISTRY.pop(name, None)
    _LOADED.pop(name, None)


def names() -> tuple[str, ...]:
    """Return the registered names; that a name is here does not say that its libraries and device are."""
    return tuple(_REGISTRY)


def load(name: str) -> Backend:
    """Return the backend of this name.

    Raises
    ------
    InputError
        No backend has this name.
    BackendUnavailable
        Its library or device is missing; the message says which.
    """
    if name not in _REGISTRY:
        raise InputError(f"no backend is called {name!r}; known: {', '.join(_REGISTRY)}")
    if name not in _LOADED:
        module, _, kind = _REGISTRY[name].partition(":")
        try:
            made: Any = getattr(importlib.import_module(module), kind)()
        except BackendUnavailable:
            raise
        except ImportError as error:
            raise BackendUnavailable(f"backend {name!r} cannot be loaded: {error}") from error
        _LOADED[name] = made
    return _LOADED[name]
