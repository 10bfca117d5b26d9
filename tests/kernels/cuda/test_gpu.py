"""On a GPU: the bits of the CPU. Skipped without one, failed without one where VSTATS_REQUIRE_GPU=1."""

from itertools import islice
from pathlib import Path

import numpy as np
import pytest

from tests import gpu
from tests.kernels.clips import clip, same_bits
from vstats.kernels import backend, ops
from vstats.kernels.contract import TVL1Params
from vstats.kernels.errors import BackendUnavailable
from vstats.pipeline import device, proof
from vstats.pipeline.decode import decode_frames


@pytest.fixture(autouse=True)
def _on_a_gpu(request: pytest.FixtureRequest) -> None:
    if request.node.get_closest_marker("gpu"):
        gpu.require()


@pytest.mark.gpu
def test_known_clips_have_the_known_digests() -> None:
    assert all(stage.ok for stage in proof.arithmetic("cuda", "tvl1"))
    assert device.choose("auto") == ("cuda", "")


@pytest.mark.gpu
@pytest.mark.parametrize("size", [(128, 171), (256, 340), (64, 80), (1, 9), (33, 2)])
@pytest.mark.parametrize("median", [1, 3, 5])
def test_flow_has_the_bits_of_the_cpu(size: tuple[int, int], median: int) -> None:
    frames = clip(3, *size, 1)
    params = TVL1Params(median_filtering=median)
    assert same_bits(ops.tvl1(frames, params, backend="cuda"), ops.tvl1(frames, params))


@pytest.mark.gpu
def test_real_clips_have_the_bits_of_the_cpu(data_dir: Path) -> None:
    for name in ("ucf101_v_SoccerJuggling_g23_c01.avi", "hmdb51_TrumanShow_wave.avi", "k400_SOX5yA1l24A.mp4"):
        rgb = np.stack([frame for frame, _ in islice(decode_frames(str(data_dir / "videos" / name)), 20, 37)])
        rgb = ops.resize_area(rgb, (128, 171))
        field = ops.tvl1(ops.rgb_to_gray(rgb))
        assert same_bits(ops.tvl1(ops.rgb_to_gray(rgb), backend="cuda"), field)
        for profile in ("sts", "sts-released", "mas-released"):
            found, wanted = (
                ops.clip_labels(rgb[:16], field[:16], profile, crop=(8, 29), flip=True, backend=who)
                for who in ("cuda", "cpu")
            )
            assert found.values.tolist() == wanted.values.tolist()
            assert found.margins.tobytes() == wanted.margins.tobytes()


def test_a_machine_that_was_meant_to_have_a_gpu_cannot_pass_without(monkeypatch: pytest.MonkeyPatch) -> None:
    def load(name: str) -> None:
        raise BackendUnavailable("CUDA finds no GPU")

    monkeypatch.setattr(backend, "load", load)
    monkeypatch.delenv("VSTATS_REQUIRE_GPU", raising=False)
    with pytest.raises(pytest.skip.Exception, match="no GPU: CUDA finds no GPU"):
        gpu.require()
    monkeypatch.setenv("VSTATS_REQUIRE_GPU", "1")
    with pytest.raises(pytest.fail.Exception, match="VSTATS_REQUIRE_GPU=1, and CUDA finds no GPU"):
        gpu.require()
