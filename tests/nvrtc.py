"""Compile the CUDA sources with NVRTC, which needs neither driver nor GPU, and read what became of them."""

import io
import re
from dataclasses import dataclass
from pathlib import Path

from cuda.bindings import nvrtc
from elftools.elf.elffile import ELFFile

from vstats.kernels.cuda import source

INSTRUCTION_BYTES = 16


@dataclass(frozen=True)
class Compiled:
    """A source's PTX, and of each kernel its registers, spilled bytes and machine instructions."""

    ptx: str
    kernels: dict[str, dict[str, int]]


def version() -> str:
    """Return NVRTC's version."""
    _, major, minor = nvrtc.nvrtcVersion()
    return f"{major}.{minor}"


def compile_source(path: Path, architecture: str, team: int = 1) -> Compiled:
    """Compile for "sm_80", "sm_90" ...; what the compiler says stands in the error where it refuses."""
    _, program = nvrtc.nvrtcCreateProgram(path.read_bytes(), path.name.encode(), 0, [], [])
    options = [f"--gpu-architecture={architecture}", *source.options(team), "--ptxas-options=-v"]
    (outcome,) = nvrtc.nvrtcCompileProgram(program, len(options), [o.encode() for o in options])
    _, size = nvrtc.nvrtcGetProgramLogSize(program)
    log = bytes(size)
    nvrtc.nvrtcGetProgramLog(program, log)
    text = log.decode()
    assert outcome == nvrtc.nvrtcResult.NVRTC_SUCCESS, text
    _, size = nvrtc.nvrtcGetPTXSize(program)
    ptx = bytes(size)
    nvrtc.nvrtcGetPTX(program, ptx)
    _, size = nvrtc.nvrtcGetCUBINSize(program)
    cubin = bytes(size)
    nvrtc.nvrtcGetCUBIN(program, cubin)
    nvrtc.nvrtcDestroyProgram(program)
    found = {}
    for part in text.split("Compiling entry function ")[1:]:
        name = re.match(r"'(\w+)'", part)
        registers = re.search(r"Used (\d+) registers", part)
        spills = re.findall(r"(\d+) bytes (?:stack frame|spill stores|spill loads)", part)
        assert name
        assert registers
        assert spills
        found[name[1]] = {"registers": int(registers[1]), "spill_bytes": sum(map(int, spills))}
    for section in ELFFile(io.BytesIO(cubin)).iter_sections():
        kernel = section.name.removeprefix(".text.")
        if kernel in found:
            found[kernel]["instructions"] = section["sh_size"] // INSTRUCTION_BYTES
    return Compiled(ptx=ptx.decode().rstrip("\0"), kernels=found)
