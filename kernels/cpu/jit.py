"""How every CPU kernel is compiled.

``fastmath`` stays off and the source names every operation, so LLVM neither contracts nor reorders arithmetic
and a kernel gives the same bits on any CPU. ``error_model="numpy"`` leaves out the zero-division branches that
keep loops from vectorising.

The compiled code is cached on disk by Numba, which notices a change of the *file* a function stands in but not of
functions it calls in other files: a jitted function therefore calls jitted functions of its own file only.
"""

import gc
from collections.abc import Callable
from typing import Any, TypeVar, cast

import numba
import numba.core.event

F = TypeVar("F", bound=Callable[..., Any])


# Numba's stubs know neither all options nor its events.
_njit: Any = numba.njit
_event: Any = numba.core.event


class _CollectLater(numba.core.event.Listener):  # type: ignore[misc]
    """Pauses the garbage collector while Numba compiles: a fifth of the time would go into searching its live objects."""

    def __init__(self) -> None:
        self._depth = 0
        self._was_on = False

    def on_start(self, event: Any) -> None:
        """Pause when the outermost compilation begins."""
        if self._depth == 0:
            self._was_on = gc.isenabled()
            gc.disable()
        self._depth += 1

    def on_end(self, event: Any) -> None:
        """Go on when it ends."""
        self._depth -= 1
        if self._depth == 0 and self._was_on:
            gc.enable()


_event.register("numba:compile", _CollectLater())


def kernel(function: F) -> F:
    """Compile `function` with the settings that all CPU kernels share."""
    options = {
        "cache": True,
        "error_model": "numpy",
        "fastmath": False,
        "nogil": True,
        "no_cfunc_wrapper": True,
    }
    return cast(F, _njit(**options)(function))
