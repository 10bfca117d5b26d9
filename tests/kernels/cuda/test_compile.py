"""The CUDA sources compile for sm_80 and sm_90 into what is on record, one IEEE operation at a time."""

import json
import re
from pathlib import Path

import pytest

from tests import nvrtc
from tests.golden import renew_cuda_kernels as record
from vstats.kernels.cuda import source
from vstats.kernels.cuda.geometry import THREADS

RECORDED = json.loads(record.TARGET.read_text())


@pytest.mark.parametrize(("architecture", "file", "team"), record.BUILDS)
def test_kernels_compile_to_what_is_on_record(architecture: str, file: str, team: int) -> None:
    compiled = nvrtc.compile_source(source.FOLDER / file, architecture, team)
    assert sorted(compiled.kernels) == sorted(source.KERNELS[file])
    # Nothing fused, approximated or flushed; / and sqrt are correctly rounded.
    operations = set(
        re.findall(
            r"^\s+(?:@!?%p\d+ )?((?:fma|mad|add|sub|mul|div|rcp|sqrt|rsqrt|ex2|lg2)\.[\w.]+)",
            compiled.ptx,
            re.MULTILINE,
        )
    )
    floats = {operation for operation in operations if operation.endswith(("f32", "f64"))}
    assert floats <= {f"{name}.rn.f32" for name in ("add", "sub", "mul", "div", "rcp", "sqrt")}
    for kernel, facts in compiled.kernels.items():
        assert facts["spill_bytes"] == 0, f"{kernel} spills"
        assert facts["registers"] <= 65536 // (1024 if kernel.startswith("solve") else THREADS)
        recorded = RECORDED["kernels"][f"{architecture} {kernel} team {team}"]
        if nvrtc.version() == RECORDED["nvrtc"]:
            assert facts == recorded, "renew tests/golden/cuda_kernels.json where this is meant"
        else:  # another compiler: much more than before is a reason to look
            assert facts["instructions"] <= 1.5 * recorded["instructions"]


def test_every_build_is_on_record() -> None:
    wanted = {
        f"{architecture} {kernel} team {team}"
        for architecture, file, team in record.BUILDS
        for kernel in source.KERNELS[file]
    }
    assert set(RECORDED["kernels"]) == wanted
    assert {path.name for path in source.FOLDER.glob("*.cu")} == set(source.KERNELS)


@pytest.mark.parametrize("header", sorted(path.name for path in source.FOLDER.glob("*.cuh")))
def test_a_header_stands_alone(header: str) -> None:
    nvrtc.compile_source(source.FOLDER / header, "sm_90")


def test_the_hash_names_every_source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = source.source_hash()
    for path in source.FOLDER.glob("*.cu*"):
        (tmp_path / path.name).write_bytes(path.read_bytes())
    monkeypatch.setattr(source, "FOLDER", tmp_path)
    source.source_hash.cache_clear()
    assert source.source_hash() == before
    for path in sorted(tmp_path.iterdir()):
        text = path.read_bytes()
        path.write_bytes(text + b"\n")
        source.source_hash.cache_clear()
        assert source.source_hash() != before, path.name
        path.write_bytes(text)
    source.source_hash.cache_clear()


def test_the_report_of_a_gpu_is_of_these_sources() -> None:
    report = Path(source.FOLDER).parent.parent / "docs" / "gpu-report.json"
    if not report.exists():
        pytest.skip("no GPU's report is on record; make one with: python -m tests.gpu_report")
    measured = json.loads(report.read_text())
    if measured["kernels"] != source.source_hash():
        pytest.skip(
            f"STALE: {report.name} is of kernels {measured['kernels']}; renew it: python -m tests.gpu_report"
        )
    assert measured["equal_bits"]["different"] == []
    assert measured["extract"]["same_digest"]
