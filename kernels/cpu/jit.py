"""How every CPU kernel is compiled.

``fastmath`` stays off and the source names every operation, so LLVM neither contracts nor reorders arithmetic
and a kernel gives the same bits on any CPU. ``error_model="numpy"`` leaves out the zero-division branches that
keep loops from vectorising.

Compiled code is kept in the user's cache folder, in one folder for all sources of the kernels and all versions that
compile them: never beside the sources, where an uninstalled package would leave it behind, and never for others.
"""

import gc
import hashlib
import platform
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any, TypeVar, cast

import llvmlite
import numba
import numba.core.caching
import numba.core.event

from vstats.kernels import cache as caches

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


@cache
def compiled_folder() -> Path | None:
    """Return where this process keeps compiled kernels, or None where it has no folder to keep them in."""
    folder = caches.folder()
    if folder is None:
        return None
    known = hashlib.sha256(f"{platform.python_version()} {numba.__version__} {llvmlite.__version__}".encode())
    sources = Path(__file__).parent.parent
    for path in sorted(sources.rglob("*.py")):
        known.update(f"\0{path.relative_to(sources)}\0".encode() + path.read_bytes())
    return folder / f"kernels-{known.hexdigest()[:16]}"


def is_compiled() -> bool:
    """Tell whether an earlier process has kept kernels of these sources: those of this one need not be compiled then."""
    folder = compiled_folder()
    return folder is not None and any(folder.glob("*.nbi"))


class _Locator(numba.core.caching._CacheLocator):  # type: ignore[misc]
    """Tells Numba the folder, and what a function is called in it."""

    def __init__(self, folder: Path, line: int) -> None:
        self._folder = folder
        self._line = line

    @classmethod
    def from_function(cls, function: Callable[..., Any], file: str) -> "_Locator | None":
        """Return the locator of a function, or None where nothing is kept."""
        folder = compiled_folder()
        return cls(folder, function.__code__.co_firstlineno) if folder else None

    def get_cache_path(self) -> str:
        """Return the folder."""
        return str(self._folder)

    def get_source_stamp(self) -> str:
        """Return what stands for the sources' state: the folder's name does."""
        return self._folder.name

    def get_disambiguator(self) -> str:
        """Return what tells functions of one name apart."""
        return str(self._line)


class _CacheImpl(numba.core.caching.CompileResultCacheImpl):  # type: ignore[misc]
    _locator_classes = (_Locator,)


class _Cache(numba.core.caching.FunctionCache):  # type: ignore[misc]
    _impl_class = _CacheImpl


def kernel(function: F) -> F:
    """Compile `function`, when it is first called, with the settings that all CPU kernels share."""
    options = {
        "error_model": "numpy",
        "fastmath": False,
        "nogil": True,
        "no_cfunc_wrapper": True,
    }
    compiled = _njit(**options)(function)
    if compiled_folder() is not None:
        compiled._cache = _Cache(function)
    return cast(F, compiled)
