"""Write what the CUDA kernels compile to: registers, spills and instructions, by architecture and team.

    python -m tests.golden.renew_cuda_kernels

Run it when kernels changed on purpose or when NVRTC was renewed, and read the differences: a kernel that needs more than 64
registers does not start with 1,024 threads, and one that spills is slow.
"""

import json
from pathlib import Path
from typing import Any

from tests import nvrtc
from vstats.kernels.cuda import source

TARGET = Path(__file__).with_name("cuda_kernels.json")

BUILDS = [
    *(("sm_80", file, 1) for file in source.KERNELS),
    *(("sm_90", file, 1) for file in source.KERNELS),
    ("sm_90", "solve.cu", 8),
]
"""What is compiled: architecture, source, team."""


def measure(architecture: str, file: str, team: int) -> dict[str, dict[str, int]]:
    """Return the facts of a source's kernels, by the names that they have in the file."""
    compiled = nvrtc.compile_source(source.FOLDER / file, architecture, team)
    return {f"{architecture} {kernel} team {team}": facts for kernel, facts in compiled.kernels.items()}


def main() -> None:
    facts: dict[str, Any] = {}
    for build in BUILDS:
        facts |= measure(*build)
    TARGET.write_text(json.dumps({"nvrtc": nvrtc.version(), "kernels": facts}, indent=1) + "\n")
    print(f"{TARGET.name}: {len(facts)} kernels, NVRTC {nvrtc.version()}")


if __name__ == "__main__":
    main()
