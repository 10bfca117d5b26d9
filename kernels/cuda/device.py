"""The device that CUDA kernels run on, as their callers see it, and the real one. The only import of CuPy."""

from collections.abc import Hashable, Sequence
from functools import cache
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from vstats.kernels.cuda import source
from vstats.kernels.cuda.geometry import Limits
from vstats.kernels.errors import BackendUnavailable, DeviceLost

Array = npt.NDArray[Any]


class Device(Hashable, Protocol):
    """Memory and launches. A device's arrays have shape, dtype and NumPy's slices; kernels get them in C order."""

    name: str

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


class CudaDevice:
    """A GPU by way of CuPy.

    Raises
    ------
    BackendUnavailable
        CuPy, the driver or a device is missing, or the device is too old or too small.
    """

    def __init__(self) -> None:
        try:
            import cupy
        except ImportError as error:
            raise BackendUnavailable(
                f"CUDA needs CuPy ({error}); install it with: pip install 'vstats[cuda]'"
            ) from error
        self._cupy = cupy
        self._errors = (
            cupy.cuda.runtime.CUDARuntimeError,
            cupy.cuda.driver.CUDADriverError,
            cupy.cuda.compiler.CompileException,
        )
        try:
            if cupy.cuda.runtime.getDeviceCount() == 0:
                raise BackendUnavailable("CUDA finds no GPU; see what nvidia-smi prints")
            self._device = cupy.cuda.Device()
            self.capability = int(self._device.compute_capability)
            facts = cupy.cuda.runtime.getDeviceProperties(self._device.id)
        except self._errors as error:
            raise BackendUnavailable(
                f"CUDA cannot be used: {error}; is a driver installed and a GPU visible (nvidia-smi)?"
            ) from error
        self.name = facts["name"].decode()
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
        if shared > 48 << 10 and function.max_dynamic_shared_size_bytes < shared:
            function.max_dynamic_shared_size_bytes = self._shared_bytes
        self._try(f"launching {kernel}", function, grid, (threads,), tuple(args), shared_mem=shared)

    @cache  # noqa: B019  a device lives as long as its process
    def _function(self, kernel: str, team: int) -> Any:
        file = next(name for name, kernels in source.KERNELS.items() if kernel in kernels)
        return self._module(file, team if file in source.TEAMS else 1).get_function(kernel)

    @cache  # noqa: B019
    def _module(self, file: str, team: int) -> Any:
        code = (source.FOLDER / file).read_text()
        return self._cupy.RawModule(code=code, options=source.options(team), backend="nvrtc")

    def _try(self, doing: str, call: Any, *args: Any, **named: Any) -> Any:
        try:
            return call(*args, **named)
        except self._cupy.cuda.memory.OutOfMemoryError as error:
            raise DeviceLost(
                f"{self.name} has no memory left while {doing}: {error}. End what else uses it, or run with --device cpu"
            ) from error
        except self._errors as error:
            raise DeviceLost(
                f"{self.name} failed while {doing}: {error}. What was finished is kept: run the same command again"
            ) from error


def scalars(*values: int) -> tuple[np.int32, ...]:
    """Return whole numbers as kernels take them."""
    return tuple(np.int32(value) for value in values)
