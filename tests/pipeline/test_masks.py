"""Patterns from a user's own mask files: read, checked, kept in the configuration, labelled and drawn like the others."""

import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests import videos
from vstats.kernels import patterns
from vstats.kernels.errors import InputError
from vstats.kernels.patterns import Mask
from vstats.pipeline import masks
from vstats.pipeline.config import ExtractConfig, RunConfig
from vstats.pipeline.errors import ConfigMismatch
from vstats.pipeline.extract import extract
from vstats.pipeline.masks import MaskPattern
from vstats.pipeline.shard import label_config
from vstats.pipeline.store import Store
from vstats.pipeline.verify import verify


@pytest.fixture(autouse=True)
def _registry() -> Iterator[None]:
    yield
    for name in list(masks._FROM_FILES):
        patterns.unregister(name)
        del masks._FROM_FILES[name]


def numbers(size: int = 112, across: int = 4) -> Any:
    """Block numbers of across x across cells, row by row."""
    y, x = np.indices((size, size)) * across // size
    return (y * across + x + 1).astype(np.uint8)


def test_masks_and_numbers_are_read_alike(tmp_path: Path) -> None:
    stacked = np.stack([numbers() == k for k in range(1, 17)])
    np.save(tmp_path / "numbers.npy", numbers())
    np.save(tmp_path / "masks.npy", stacked)
    a, b = (MaskPattern.from_file(f"grid={tmp_path / name}.npy") for name in ("numbers", "masks"))
    assert a == b
    assert a.sha256 == b.sha256
    np.testing.assert_array_equal(a.masks(112), patterns.get("pattern_1").masks(112))
    np.testing.assert_array_equal(a.masks(112), stacked)


@pytest.mark.parametrize("first", [False, True])
def test_any_masks_survive(first: bool) -> None:
    made = np.random.default_rng(3).random((3, 8, 8)) < 0.5
    made[0, 0, 0] = first
    np.testing.assert_array_equal(MaskPattern.from_masks("any", made).masks(8), made)


@pytest.mark.parametrize(
    ("made", "words"),
    [
        (np.zeros((2, 8, 8), bool), r"no pixel in its blocks \[1, 2\]"),
        (np.array([[1, 3], [1, 3]]), r"no pixel in its blocks \[2\]"),
        (np.ones((2, 8, 9), bool), r"bool \[2, 8, 9\]; expected bool"),
        (np.ones((8, 8)), r"float64 \[8, 8\]; expected bool"),
        (np.ones((8, 8), bool), r"bool \[8, 8\]; expected bool"),
    ],
)
def test_what_are_no_masks_is_said(made: Any, words: str) -> None:
    with pytest.raises(InputError, match=words):
        MaskPattern.from_masks("odd", made)


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    (tmp_path / "text.npy").write_text("no array")
    np.savez(tmp_path / "several.npz", a=numbers(), b=numbers())
    for text, words in (
        ("grid", "NAME=MASKS.npy"),
        ("=x.npy", "NAME=MASKS.npy"),
        (f"grid={tmp_path / 'none.npy'}", "cannot be read"),
        (f"grid={tmp_path / 'text.npy'}", "cannot be read"),
        (f"grid={tmp_path / 'several.npz'}", "several arrays"),
    ):
        with pytest.raises(InputError, match=words):
            MaskPattern.from_file(text)


def test_the_configuration_carries_them() -> None:
    plain = ExtractConfig()
    assert "patterns" not in plain.to_json()
    one, other = (MaskPattern.from_masks("mine", numbers(across=k)) for k in (2, 7))
    second = MaskPattern.from_masks("also", numbers(across=2))
    config = ExtractConfig(patterns=(one, second))
    assert ExtractConfig.from_json(config.to_json()) == config == ExtractConfig(patterns=(second, one))
    fingerprints = {c.fingerprint() for c in (plain, config, replace(config, patterns=(one,)))}
    fingerprints.add(ExtractConfig(patterns=(other,)).fingerprint())
    assert len(fingerprints) == 4
    (text,) = ExtractConfig(patterns=(one,)).differences(ExtractConfig(patterns=(other,)))
    assert text == f"patterns.mine: 'sha256 {one.sha256}' -> 'sha256 {other.sha256}'"
    (text,) = plain.differences(ExtractConfig(patterns=(one,)))
    assert text == f"patterns.mine: None -> 'sha256 {one.sha256}'"
    with pytest.raises(InputError, match="made for crops of 112 pixels and cannot cut one of 96"):
        ExtractConfig(crop_size=96, patterns=(one,))
    with pytest.raises(InputError, match="a name of its own"):
        ExtractConfig(patterns=(one, other))
    record = ExtractConfig(patterns=(one,)).to_json()
    record["patterns"]["mine"]["runs"] = "5"
    with pytest.raises(InputError, match="damaged"):
        ExtractConfig.from_json(record)


def test_one_store_s_patterns_do_not_reach_another() -> None:
    one, other = (MaskPattern.from_masks("mine", numbers(across=k)) for k in (2, 7))
    assert label_config(ExtractConfig(patterns=(one,))).patterns == (*patterns.STANDARD, "mine")
    assert len(patterns.get("mine").masks(112)) == 4
    assert label_config(ExtractConfig(patterns=(other,))).patterns == (*patterns.STANDARD, "mine")
    assert len(patterns.get("mine").masks(112)) == 49
    assert label_config(ExtractConfig()).patterns == patterns.STANDARD
    with pytest.raises(InputError, match="registered already"):
        label_config(ExtractConfig(patterns=(MaskPattern.from_masks("pattern_1", numbers()),)))
    with pytest.raises(InputError, match="has exactly the patterns"):
        label_config(ExtractConfig(profile="sts-released", patterns=(one,)))
    assert label_config(ExtractConfig(profile="sts-released")).patterns == patterns.STANDARD


def test_a_pattern_of_code_stands_beside_them() -> None:
    @patterns.pattern("halves")
    def halves(size: int) -> Mask:
        """Left and right."""
        x = np.indices((size, size))[1]
        return np.stack([x < size // 2, x >= size // 2])

    try:
        mine = MaskPattern.from_masks("mine", numbers(across=2))
        config = label_config(ExtractConfig(patterns=(mine,)))
        assert config.patterns == (*patterns.STANDARD, "halves", "mine")
    finally:
        patterns.unregister("halves")


def test_extract_labels_them_with_workers_and_resumes_only_the_same(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    videos.write_video(tmp_path / "in" / "a.mkv", videos.moving_square("right", 13, 17))
    np.save(tmp_path / "grid.npy", numbers())
    np.save(tmp_path / "quarters.npy", numbers(across=2))
    base = ["extract", str(tmp_path / "in"), "--flow", "dis", "--flip", "both", "--statistics"]
    for workers in ("0", "1"):
        done = subprocess.run(
            [sys.executable, "-m", "vstats.cli", *base, "--pattern", f"grid={tmp_path / 'grid.npy'}",
             "--workers", workers, "-o", str(tmp_path / f"{workers}.vstats")],
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
    store, again = (Store.open(tmp_path / f"{workers}.vstats") for workers in ("0", "1"))
    assert store.digest == again.digest
    # The same cells as pattern 1, compared by their means: the same labels.
    for family in ("motion", "appearance"):
        np.testing.assert_array_equal(
            store.read(f"labels/{family}/grid"), store.read(f"labels/{family}/pattern_1")
        )
    config = ExtractConfig(flow="dis", flip="both", save=("statistics",))
    quarters = MaskPattern.from_file(f"grid={tmp_path / 'quarters.npy'}")
    with pytest.raises(ConfigMismatch, match=r"patterns\.grid: 'sha256 .*' -> 'sha256 "):
        extract(
            [str(tmp_path / "in")], tmp_path / "0.vstats", replace(config, patterns=(quarters,)), RunConfig()
        )
    with pytest.raises(ConfigMismatch, match=r"patterns\.grid: 'sha256 .*' -> None"):
        extract([str(tmp_path / "in")], tmp_path / "0.vstats", config, RunConfig())
    released = replace(config, profile="mas-released", patterns=(quarters,))
    with pytest.raises(InputError, match="has exactly the patterns"):
        extract([str(tmp_path / "in")], tmp_path / "none.vstats", released, RunConfig())
    assert not (tmp_path / "none.vstats").exists()
    # The store knows its masks without the file, and its other labels are those of a store without it.
    (tmp_path / "grid.npy").unlink()
    assert verify(tmp_path / "0.vstats", recompute_percent=100).findings == ()
    extract([str(tmp_path / "in")], tmp_path / "plain.vstats", config, RunConfig())
    plain = Store.open(tmp_path / "plain.vstats")
    assert "labels/motion/grid" not in plain.names()
    for name in plain.names():
        np.testing.assert_array_equal(plain.read(name), store.read(name), err_msg=name)
