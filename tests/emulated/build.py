"""Compile the CUDA sources with g++ behind `emulator.hpp`, and run them as a device."""

import ctypes
import hashlib
import os
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from vstats.kernels.cuda import source
from vstats.kernels.cuda.geometry import Limits

HERE = Path(__file__).parent
FLAGS = (
    "-std=c++17",
    "-O1",
    "-fPIC",
    "-shared",
    "-Wall",
    "-Werror",
    "-Wno-unknown-pragmas",
    "-Wno-array-bounds",
)
EXACT = ("-ffp-contract=off",)
KINDS = {np.dtype(np.int32): "i", np.dtype(np.int64): "q", np.dtype(np.float32): "f"}


def build(
    file: str, *, team: int = 1, threads: int = 64, folder: Path = source.FOLDER, flags: Sequence[str] = EXACT
) -> Path:
    """Compile a source file and return the library, from the cache where the same was compiled before.

    Sources that know no teams are compiled together: one file's headers take as long as its kernels.
    """
    files = [file] if file in source.TEAMS else [name for name in source.KERNELS if name not in source.TEAMS]
    code = '#include "emulator.hpp"\n' + "".join(f'#include "{name}"\n' for name in files)
    code += "".join(f"EMULATE({kernel})\n" for name in files for kernel in source.KERNELS[name])
    command = [*FLAGS, *flags, f"-DTEAM={team}", f"-DTHREADS={threads}", f"-I{HERE}", f"-I{folder}"]
    key = hashlib.sha256(repr((code, [*FLAGS, *flags], team, threads)).encode())
    for path in sorted((*folder.glob("*.cu*"), *HERE.glob("*.hpp"))):
        key.update(path.read_bytes())
    cache = Path(tempfile.gettempdir()) / f"vstats-emulated-{os.getuid()}"
    cache.mkdir(exist_ok=True)
    library = cache / f"{files[0].partition('.')[0]}-{key.hexdigest()[:20]}.so"
    if not library.exists():
        main = cache / f"{library.stem}-{os.getpid()}.cpp"
        main.write_text(code)
        made = main.with_suffix(".so")
        done = subprocess.run(
            ["g++", *command, str(main), "-o", str(made)], capture_output=True, text=True, check=False
        )
        main.unlink()
        assert done.returncode == 0, done.stderr
        made.rename(library)
    return library


class EmulatedDevice:
    """The CPU as a device: arrays are NumPy's, and launches run `emulator.hpp`."""

    name = "emulated"
    versions: ClassVar[dict[str, str]] = {"emulator": "1"}
    count = 1

    def wait(self) -> None:
        return

    def __init__(
        self,
        seed: int = 0,
        *,
        threads: int = 64,
        shared_bytes: int = 1 << 20,
        largest_team: int = 1,
        memory_bytes: int = 1 << 40,
        folder: Path = source.FOLDER,
        flags: Sequence[str] = EXACT,
    ) -> None:
        self.limits = Limits(
            shared_bytes=shared_bytes, largest_team=largest_team, threads=threads, memory_bytes=memory_bytes
        )
        self.launches: list[tuple[str, int]] = []
        self._seed, self._folder, self._flags = seed, folder, flags
        self._libraries: dict[Path, Any] = {}

    def upload(self, array: Any) -> Any:
        return np.array(array, order="C")

    def download(self, array: Any) -> Any:
        return np.array(array)

    def empty(self, shape: tuple[int, ...], dtype: Any) -> Any:
        found = np.empty(shape, dtype)
        found.reshape(-1).view(np.uint8)[:] = 0xFF  # NaN, whatever it is read as
        return found

    def zeros(self, shape: tuple[int, ...], dtype: Any) -> Any:
        return np.zeros(shape, dtype)

    def contiguous(self, array: Any) -> Any:
        return np.ascontiguousarray(array)

    def joined(self, arrays: Sequence[Any]) -> Any:
        return np.concatenate(arrays)

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
        file = source.file_of(kernel)
        library = build(file, team=team, threads=self.limits.threads, folder=self._folder, flags=self._flags)
        if library not in self._libraries:
            self._libraries[library] = ctypes.CDLL(str(library))
        code = self._libraries[library]
        kinds, launch = getattr(code, f"kinds_{kernel}"), getattr(code, f"launch_{kernel}")
        kinds.restype = launch.restype = ctypes.c_char_p
        given = "".join("P" if isinstance(a, np.ndarray) else KINDS[a.dtype] for a in args)
        wanted = kinds().decode()
        assert given == wanted, f"{kernel} takes {wanted} and was given {given}"
        assert all(a.flags.c_contiguous for a in args if isinstance(a, np.ndarray)), (
            f"{kernel}: an array is strided"
        )
        values = [
            ctypes.c_void_p(a.ctypes.data)
            if isinstance(a, np.ndarray)
            else ctypes.create_string_buffer(a.tobytes())
            for a in args
        ]
        pointers = (ctypes.c_void_p * len(values))(*(ctypes.addressof(v) for v in values))
        self._seed += 1
        self.launches.append((kernel, team))
        complaint = launch(
            ctypes.c_uint(grid[0]), ctypes.c_uint(grid[1]), ctypes.c_uint(threads), ctypes.c_uint(team),
            ctypes.c_ulonglong(shared), ctypes.c_ulonglong(self._seed), pointers,
        )  # fmt: skip
        assert not complaint, f"{kernel}: {complaint.decode()}"
