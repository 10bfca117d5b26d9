"""How every CPU kernel is compiled.

``fastmath`` stays off and the source names every operation, so LLVM neither contracts nor reorders arithmetic
and a kernel gives the same bits on any CPU. ``error_model="numpy"`` leaves out the zero-division branches that
keep loops from vectorising.

The compiled code is cached on disk by Numba, which notices a change of the *file* a function stands in but not of
functions it calls in other files: a jitted function therefore calls jitted functions of its own file only.
"""

from collections.abc import Callable
from typing import Any, TypeVar, cast

import numba

F = TypeVar("F", bound=Callable[..., Any])


def kernel(function: F) -> F:
    """Compile `function` with the settings that all CPU kernels share."""
    return cast(F, numba.njit(cache=True, error_model="numpy", fastmath=False, nogil=True)(function))
