"""Clips from the user's own copy of the videos: labels are shared, videos are not.

A video is found by its key and taken only if it is the one that was labelled. Frames come the way that extraction takes
them, so labels computed from them are the stored ones, bit for bit.
"""

import os
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from vstats.kernels import ops
from vstats.kernels.errors import InputError
from vstats.pipeline import motion
from vstats.pipeline.config import ExtractConfig
from vstats.pipeline.decode import probe_video, wanted_frames
from vstats.pipeline.durable import file_sha256
from vstats.pipeline.errors import DecodeError, DifferentVideo
from vstats.pipeline.manifest import path_of_key
from vstats.pipeline.plan import clip_frames
from vstats.pipeline.records import U8, PlannedRow
from vstats.pipeline.store import Store

MISMATCHES = ("error", "warn")
"""What to do about a video with other bytes: refuse it; or take it, with a warning, if its frames are as many."""


class VideoClips:
    """The clips of a store's rows, decoded from videos.

    Parameters
    ----------
    store : Store
        What was labelled: keys, checksums, numbers of frames, and how clips are cut.
    root : path
        Folder that the store's keys are relative to.
    mismatch : {"error", "warn"}
        Whether a copy with another sha256 is refused, or taken with a `DifferentVideo` warning if as many frames of it
        decode as of the original. Each video is checked once in each process.
    """

    def __init__(self, store: Store, root: str | Path, *, mismatch: str = "error") -> None:
        if mismatch not in MISMATCHES:
            raise InputError(f"mismatch is {mismatch!r}; it must be one of {', '.join(MISMATCHES)}")
        self.root = Path(root)
        if not self.root.is_dir():
            raise InputError(f"root is {self.root}, which is no folder; give the one that holds the videos")
        self.mismatch = mismatch
        self.config: ExtractConfig = store.plan.config
        videos = store.videos
        # Arrays, not objects: forked workers would copy every page whose reference counts they touch.
        self._keys = np.array([v.key.encode() for v in videos] or [b""])
        self._sha256 = np.array([v.sha256.encode() for v in videos] or [b""])
        self._frames = np.array([v.frames for v in videos], np.int64)
        self._sizes = np.array([v.size_bytes for v in videos], np.int64)
        self._checked: set[int] = set()

    def path(self, video: int) -> Path:
        """Return where the video at this position of the store is."""
        return self.root / path_of_key(self._keys[video].decode())

    def read_into(self, rows: Sequence[PlannedRow], out: npt.NDArray[Any]) -> None:
        """Fill uint8 [n, T, side, side, 3] with the crops of rows, mirrored where they say so.

        Rows of one video are decoded in one pass.

        Raises
        ------
        DecodeError
            A video is missing, is another than the one labelled, or does not decode; the message names it.
        """
        side, length = self.config.crop_size, self.config.clip_length
        for video in dict.fromkeys(row.video for row in rows):
            mine = [place for place, row in enumerate(rows) if row.video == video]
            # Frames are resized as far as these crops reach.
            top, left = (min(getattr(rows[p], axis) for p in mine) for axis in ("crop_y", "crop_x"))
            bottom, right = (
                max(getattr(rows[p], axis) for p in mine) + side for axis in ("crop_y", "crop_x")
            )
            starts = sorted({rows[place].start_frame for place in mine})
            frames = self._decode(video, starts, length, (slice(top, bottom), slice(left, right)))
            for place in mine:
                row = rows[place]
                y, x = row.crop_y - top, row.crop_x - left
                for t, index in enumerate(self._indices(row, length)):
                    crop = frames[index][y : y + side, x : x + side]
                    out[place, t] = crop[:, ::-1] if row.flip else crop

    def working_frames(self, row: PlannedRow) -> U8:
        """Return the whole frames behind a row, uint8 [frames_needed, H, W, 3], that its flow is computed from.

        They are what labels come from where flow is computed on the working frame, as `sts` does.
        """
        frames = self._decode(row.video, [row.start_frame], self.config.frames_needed, ops.EVERYTHING)
        return np.stack([frames[index] for index in self._indices(row, self.config.frames_needed)])

    def _decode(
        self, video: int, starts: Sequence[int], length: int, part: tuple[slice, slice]
    ) -> dict[int, U8]:
        """Return a part of the working frames of the clips that begin at `starts`, by position in the video."""
        path = str(self.path(video))
        self._check(video, path)
        count = int(self._frames[video])
        wanted = sorted(
            {index for start in starts for index in clip_frames(start, count, self.config)[:length]}
        )
        size = self.config.working
        return {
            index: motion.resize_frame(rgb, size, self.config, part)
            for index, rgb in wanted_frames(path, wanted)
        }

    def _indices(self, row: PlannedRow, length: int) -> list[int]:
        return clip_frames(row.start_frame, int(self._frames[row.video]), self.config)[:length]

    def _check(self, video: int, path: str) -> None:
        if video in self._checked:
            return
        try:
            size = os.stat(path).st_size  # noqa: PTH116
            same = size == self._sizes[video] and file_sha256(Path(path)) == self._sha256[video].decode()
        except OSError as error:
            raise DecodeError(
                f"{path}: {error.strerror or error}; its labels are in the store, the video is not under root",
                stage="find",
            ) from error
        if not same:
            self._report(video, path)
        self._checked.add(video)

    def _report(self, video: int, path: str) -> None:
        sha256, frames = self._sha256[video].decode(), int(self._frames[video])
        what = f"{path}: is another copy than the one that was labelled, whose sha256 is {sha256}"
        if self.mismatch == "error":
            raise DecodeError(
                f'{what}. Fetch that one, leave the video out (keys=), or accept re-encodings with mismatch="warn"',
                stage="find",
            )
        found = probe_video(path).frames
        if found != frames:
            raise DecodeError(
                f"{what}: it has {found} frames, not {frames}, so clips would not be the same", stage="find"
            )
        warnings.warn(f"{what}; it has as many frames and is used", DifferentVideo, stacklevel=2)
