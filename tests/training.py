"""A small store to train on, and its videos: many rows at little cost."""

from pathlib import Path
from typing import Any

from tests import videos
from vstats.pipeline.config import ExtractConfig, RunConfig
from vstats.pipeline.extract import extract
from vstats.pipeline.store import Store

CLASSES = ("moving", "resting")
CONFIG: dict[str, Any] = {
    "flow": "dis",
    "clips_per_video": 4,
    "crops": "random:3",
    "flip": "both",
    "save": ("clips", "flow", "statistics"),
}


def make_videos(folder: Path) -> Path:
    """Write four videos in two class folders; one is larger than the working frame, one too short."""
    for name in CLASSES:
        (folder / name).mkdir(parents=True)
    videos.write_video(folder / "moving" / "right.mkv", videos.moving_square("right", 13, 21, size=7))
    videos.write_video(folder / "moving" / "turning.mkv", videos.enlarge(videos.rotating(24), 2))
    videos.write_video(folder / "resting" / "colours.mkv", videos.colour_change(6, 22))
    videos.write_video(folder / "resting" / "short.mkv", videos.still(9))
    listed = sorted(folder.glob("*/*.mkv"))
    lines = (f"{path.relative_to(folder)} {CLASSES.index(path.parent.name)}\n" for path in listed)
    (folder / "list.txt").write_text("".join(lines))
    (folder / "classes.txt").write_text("".join(f"{name}\n" for name in CLASSES))
    return folder


def make_store(source: Path, path: Path, *, shard_size: int = 16, **changes: Any) -> Store:
    """Label the videos of `source` into a store at `path`."""
    extract(
        [str(source / "list.txt")], path, ExtractConfig(**{**CONFIG, **changes}), RunConfig(shard_size=shard_size),
        root=str(source), classes=str(source / "classes.txt"),
    )  # fmt: skip
    return Store.open(path)
