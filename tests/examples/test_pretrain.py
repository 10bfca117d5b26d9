"""The example runs, its backbones are what they say, and pretraining on labels teaches."""

import importlib
import json
import math
import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from tests.training import make_store, make_videos

pytestmark = pytest.mark.long

EXAMPLES = Path(__file__).parents[2] / "examples"
# Output of a clip of 16 x 112 x 112 at the papers' size: channels, frames, height and width.
SHAPES = {"c3d": (512, 2, 7, 7), "r3d": (512, 2, 7, 7), "r2plus1d": (512, 2, 7, 7), "s3dg": (1024, 2, 3, 3)}
# Millions of weights without a classifier: 3D-ResNet and R(2+1)D of one block a stage; C3D's convolutions; S3D-G.
WEIGHTS = {"c3d": 27.7, "r3d": 14.4, "r2plus1d": 14.4, "s3dg": 9.1}


@pytest.fixture
def models(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(str(EXAMPLES))
    return importlib.import_module("models")


def test_there_are_four_short_backbones(models: Any) -> None:
    assert set(models.BACKBONES) == set(SHAPES)
    for path in (EXAMPLES / "models").glob("*.py"):
        assert len(path.read_text().splitlines()) < 150


@pytest.mark.parametrize("name", SHAPES)
def test_backbones_have_their_shapes_and_learn(models: Any, name: str) -> None:
    with torch.device("meta"):  # shapes and sizes, without computing
        full = models.BACKBONES[name](1)
        assert full(torch.empty(2, 3, 16, 112, 112)).shape == (2, *SHAPES[name])
    assert full.width == SHAPES[name][0]
    assert sum(p.numel() for p in full.parameters()) / 1e6 == pytest.approx(WEIGHTS[name], abs=0.06)
    torch.manual_seed(0)
    small = models.BACKBONES[name](16)
    features = small(torch.randn(2, 3, 16, 32, 32))
    assert features.shape[:2] == (2, small.width)
    features.square().mean().backward()
    assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in small.parameters())


@pytest.fixture
def examples(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Any:
    """Return a function that imports an example, in an empty folder."""
    monkeypatch.syspath_prepend(str(EXAMPLES))
    monkeypatch.chdir(tmp_path)
    return importlib.import_module


def test_the_demo_reports_every_label(examples: Any, capsys: pytest.CaptureFixture[str]) -> None:
    demo = examples("demo")
    before = torch.get_num_threads()
    demo.main(["--videos", "20", "--epochs", "1", "--threads", "1", "--json", "a.json"])
    torch.set_num_threads(before)
    result = json.loads(Path("a.json").read_text())
    assert len(result["labels"]) == 27
    for line in result["labels"]:
        assert math.isnan(line["accuracy"]) or 0 <= line["accuracy"] <= 1
    assert set(result["probe"]) == {"pretrained", "random"}
    assert result["training_clips"] + result["held_out_clips"] == 3 * 20
    assert "linear probe, 4 directions" in capsys.readouterr().out


def test_a_store_is_trained_on_and_training_goes_on(
    examples: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pretrain, probe = examples("pretrain"), examples("probe")
    store = make_store(
        make_videos(tmp_path / "videos"), tmp_path / "a.vstats", clips_per_video=1, crops="center"
    )
    common = [str(store.path), "--small", "16", "--batch-size", "3", "-o", "a.pt", "--backbone", "r2plus1d"]
    pretrain.main([*common, "--epochs", "1", "--curriculum"])
    assert "epoch   1/1" in capsys.readouterr().out
    pretrain.main([*common, "--epochs", "2"])
    again = capsys.readouterr().out
    assert "epoch   2/2" in again
    assert "epoch   1/2" not in again
    probe.main(["a.pt", str(store.path), str(store.path)])
    assert re.search(r"linear probe  [\d.]+% pretrained, [\d.]+% random weights", capsys.readouterr().out)
    (store.path / "COMMIT.json").unlink()
    for example, arguments in ((pretrain, common), (probe, ["a.pt", str(store.path), str(store.path)])):
        with pytest.raises(SystemExit, match=r"^\w+: .* has no COMMIT\.json"):  # a message, not a traceback
            example.main(arguments)


def test_defaults_are_those_of_the_papers_code(examples: Any) -> None:
    # train.py of laura-wang/video_repres_sts; its batch of 4 is 30 in its help and in the paper.
    options = examples("pretrain").parse(["a.vstats"])
    assert (options.lr, options.momentum, options.weight_decay) == (0.0005, 0.9, 0.005)
    assert (options.epochs, options.step, options.gamma, options.batch_size) == (18, 6, 0.1, 30)
    assert (options.loss, options.appearance_weight, options.backbone) == ("regression", 0.1, "r3d")


def test_regression_is_the_papers_loss(examples: Any) -> None:
    task = object.__new__(examples("pretrain").Task)
    task.loss, task.families, task.weights = "regression", ["motion", "appearance"], [1.0] * 14 + [0.1] * 13
    task.dataset = SimpleNamespace(
        targets=[SimpleNamespace(family=f) for f in ["motion"] * 14 + ["appearance"] * 13]
    )
    generator = torch.Generator().manual_seed(0)
    outputs, labels = (
        torch.randn(5, 27, generator=generator),
        torch.randint(-1, 8, (5, 27), generator=generator),
    )
    numbers = (labels + 1).float()  # from 1, and 0 where undefined, as their code has them
    mse = torch.nn.MSELoss()
    by_hand = mse(outputs[:, :14], numbers[:, :14]) + 0.1 * mse(outputs[:, 14:], numbers[:, 14:])
    assert torch.allclose(task.measure(outputs, labels), by_hand)


@pytest.mark.soak
@pytest.mark.timeout(3600)
def test_pretraining_teaches(tmp_path: Path) -> None:
    command = [sys.executable, str(EXAMPLES / "demo.py"), "--json", "out.json"]
    subprocess.run(command, cwd=tmp_path, check=True, timeout=3500)
    figures = json.loads((tmp_path / "out.json").read_text())
    motion = [line for line in figures["labels"] if line["label"].startswith("motion_pattern")]
    for line in motion:
        assert line["accuracy"] > line["majority"], line
    mean = {key: sum(line[key] for line in motion) / len(motion) for key in ("accuracy", "majority")}
    assert mean["accuracy"] > 1.5 * mean["majority"]
    assert figures["probe"]["pretrained"] > figures["probe"]["random"] + 0.2
