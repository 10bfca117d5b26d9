"""The device that CUDA kernels run on, as their callers see it, and the real one. The only import of CuPy."""

import importlib.util
import os
from collections.abc import Hashable, Sequence
from functools import cache
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from vstats.kernels.cuda import source
from vstats.kernels.cuda.geometry import Limits
from vstats.kernels.errors import BackendUnavailable, DeviceFull, DeviceLost, NoDevice

Array = npt.NDArray[Any]


class Device(Hashable, Protocol):
    """Memory and launches. A device's arrays have shape, dtype and NumPy's slices; kernels get them in C order."""

    name: str
    versions: dict[str, str]
    count: int

    def wait(self) -> None:
        """Return when all that was launched has run."""
        ...

    @property
    def limits(self) -> Limits:
        """What the device offers now."""
        ...

    def upload(self, array: Array) -> Any:
        """Return a copy of a NumPy array on the device."""
        ...

    def download(self, array: Any) -> Array:
        """Return a copy of a device's array, when all that fills it has run."""
        ...

    def empty(self, shape: tuple[int, ...], dtype: Any) -> Any:
        """Return an array of any values."""
        ...

    def zeros(self, shape: tuple[int, ...], dtype: Any) -> Any:
        """Return an array of zeros."""
        ...

    def contiguous(self, array: Any) -> Any:
        """Return a device's array in C order, itself where it is."""
        ...

    def joined(self, arrays: Sequence[Any]) -> Any:
        """Return a device's arrays one after another along their first axis."""
        ...

    def launch(
        self,
        kernel: str,
        grid: tuple[int, int],
        threads: int,
        args: Sequence[Any],
        *,
        shared: int = 0,
        team: int = 1,
    ) -> None:
        """Queue a kernel of `source.KERNELS`.

        Parameters
        ----------
        kernel : str
            Its name.
        grid : (int, int)
            Blocks along x and y.
        threads : int
            Threads a block.
        args : sequence
            Device arrays, and NumPy scalars of exactly the types that the kernel takes.
        shared : int
            Bytes of shared memory a block.
        team : int
            Blocks a team; `grid` counts blocks.
        """
        ...


CHOICE = "VSTATS_GPU"
"""The environment variable that says which GPU a process takes; of more than there are, it starts over."""

OUT_OF_MEMORY = 2  # cudaErrorMemoryAllocation, CUDA_ERROR_OUT_OF_MEMORY


def is_installed() -> bool:
    """Tell whether CuPy is there, without loading it."""
    return importlib.util.find_spec("cupy") is not None


class CudaDevice:
    """A GPU by way of CuPy: the first, or the one that the environment's `CHOICE` says.

    Raises
    ------
    NoDevice
        CuPy is not installed, or there is no driver or GPU.
    BackendUnavailable
        CuPy, the driver or the GPU cannot be used, or the GPU is too old.
    """

    def __init__(self) -> None:
        if not is_installed():
            raise NoDevice("CUDA needs CuPy; install it with: pip install 'vstats[cuda]'")
        try:
            import cupy
        except ImportError as error:
            raise BackendUnavailable(
                f"CuPy cannot be loaded ({error}); see https://docs.cupy.dev, or compute with --device cpu"
            ) from error
        self._cupy = cupy
        self._errors = (
            cupy.cuda.runtime.CUDARuntimeError,
            cupy.cuda.driver.CUDADriverError,
            cupy.cuda.compiler.CompileException,
        )
        try:
            driver = cupy.cuda.runtime.driverGetVersion()
            if driver == 0:
                raise NoDevice("CUDA finds no driver, and so no GPU; see what nvidia-smi prints")
            self.count = int(cupy.cuda.runtime.getDeviceCount())
            if self.count == 0:
                raise NoDevice(_NO_GPU)
            self._device = cupy.cuda.Device(int(os.environ.get(CHOICE) or 0) % self.count)
            self.capability = int(self._device.compute_capability)
            facts = cupy.cuda.runtime.getDeviceProperties(self._device.id)
        except self._errors as error:
            if getattr(error, "status", None) == _NO_DEVICE:
                raise NoDevice(_NO_GPU) from error
            raise BackendUnavailable(
                f"CUDA cannot be used: {error}; is a driver installed and a GPU visible (nvidia-smi)?"
            ) from error
        self.name = facts["name"].decode()
        self.versions = {"cupy": cupy.__version__, "cuda_driver": _dotted(driver)}
        self._shared_bytes = int(facts["sharedMemPerBlockOptin"])
        if self.capability < 80:
            raise BackendUnavailable(
                f"{self.name} has compute capability {self.capability / 10}; 8.0 or newer is needed"
            )

    @property
    def limits(self) -> Limits:
        """What the device offers now."""
        free, _ = self._try("asking for memory", self._cupy.cuda.runtime.memGetInfo)
        pool = self._cupy.get_default_memory_pool()
        return Limits(
            shared_bytes=self._shared_bytes,
            largest_team=8 if self.capability >= 90 else 1,
            memory_bytes=int(free) + int(pool.free_bytes()),
        )

    def wait(self) -> None:
        """Return when all that was launched has run."""
        self._try("computing", self._cupy.cuda.get_current_stream().synchronize)

    def upload(self, array: Array) -> Any:
        """Return a copy of a NumPy array on the device."""
        return self._try("copying to the GPU", self._cupy.asarray, array, order="C")

    def download(self, array: Any) -> Array:
        """Return a copy of a device's array, when all that fills it has run."""
        found: Array = self._try("computing", self._cupy.asnumpy, array)
        return found

    def empty(self, shape: tuple[int, ...], dtype: Any) -> Any:
        """Return an array of any values."""
        return self._try("taking memory", self._cupy.empty, shape, dtype)

    def zeros(self, shape: tuple[int, ...], dtype: Any) -> Any:
        """Return an array of zeros."""
        return self._try("taking memory", self._cupy.zeros, shape, dtype)

    def contiguous(self, array: Any) -> Any:
        """Return a device's array in C order, itself where it is."""
        return self._try("taking memory", self._cupy.ascontiguousarray, array)

    def joined(self, arrays: Sequence[Any]) -> Any:
        """Return a device's arrays one after another along their first axis."""
        return self._try("taking memory", self._cupy.concatenate, arrays)

    def launch(
        self,
        kernel: str,
        grid: tuple[int, int],
        threads: int,
        args: Sequence[Any],
        *,
        shared: int = 0,
        team: int = 1,
    ) -> None:
        """Queue a kernel; see `Device`."""
        function = self._try("compiling", self._function, kernel, team)
        self._try(f"launching {kernel}", function, grid, (threads,), tuple(args), shared_mem=shared)

    @cache  # noqa: B019  a device lives as long as its process
    def _function(self, kernel: str, team: int) -> Any:
        file = source.file_of(kernel)
        function = self._module(file, team if file in source.TEAMS else 1).get_function(kernel)
        if file in source.TEAMS:  # more than a kernel gets unasked
            function.max_dynamic_shared_size_bytes = self._shared_bytes
        return function

    @cache  # noqa: B019
    def _module(self, file: str, team: int) -> Any:
        code = (source.FOLDER / file).read_text()
        return self._cupy.RawModule(code=code, options=source.options(team), backend="nvrtc")

    def _try(self, doing: str, call: Any, *args: Any, **named: Any) -> Any:
        try:
            self._device.use()  # each thread has a current device of its own
            return call(*args, **named)
        except (self._cupy.cuda.memory.OutOfMemoryError, *self._errors) as error:
            full = isinstance(error, self._cupy.cuda.memory.OutOfMemoryError)
            if full or getattr(error, "status", None) == OUT_OF_MEMORY:
                raise DeviceFull(
                    f"{self.name} has no memory left while {doing}: {error}; end what else uses it (nvidia-smi)"
                ) from error
            raise DeviceLost(
                f"{self.name} failed while {doing}: {error}; see what nvidia-smi prints"
            ) from error


_NO_DEVICE = 100  # cudaErrorNoDevice
_NO_GPU = "CUDA finds no GPU; see what nvidia-smi prints"


def _dotted(version: int) -> str:
    return f"{version // 1000}.{version % 1000 // 10}"


def scalars(*values: int) -> tuple[np.int32, ...]:
    """Return whole numbers as kernels take them."""
    return tuple(np.int32(value) for value in values)
