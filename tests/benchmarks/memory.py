"""What a large run takes: `python -m tests.benchmarks.memory [--videos 100000] [--minutes 30] [--save clips,flow]`.

A list of many videos (links to a few small ones, probed beforehand) and one long video, which comes first; `vstats extract`
labels it with two workers for a while and is interrupted. Peaks are the kernel's own (VmHWM).
"""

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict
from pathlib import Path

import av
import numpy as np

from tests import videos
from vstats.pipeline.decode import probe_video
from vstats.pipeline.place import LocalPlace
from vstats.pipeline.status import read_status
from vstats.pipeline.store import PROBES

ROLES = {"decode_child": "decode child", "spawn_main": "worker", "vstats.cli extract": "client"}


def main() -> None:
    """Print the peaks."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--videos", type=int, default=100_000)
    options.add_argument("--minutes", type=int, default=30, help="length of the long video")
    options.add_argument("--clips", type=int, default=1, help="clips a video")
    options.add_argument("--seconds", type=float, default=120, help="how long to label")
    options.add_argument("--save", default="")
    options.add_argument("--flow", default="tvl1")
    chosen = options.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder, store = Path(name, "videos"), Path(name, "a.vstats")
        folder.mkdir()
        long = long_video(folder / "0-long.mp4", chosen.minutes)
        print(f"long video: {long.stat().st_size / 1e6:.0f} MB, {probe_video(str(long)).frames:,} frames")
        crowd(folder, store, chosen.videos)
        command = [
            *(sys.executable, "-m", "vstats.cli", "extract", str(folder), "-o", str(store), "--workers", "2"),
            *("--clips-per-video", str(chosen.clips), "--flow", chosen.flow),
            *(("--save", chosen.save) if chosen.save else ()),
        ]
        began = time.monotonic()
        process = subprocess.Popen(
            command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
        )
        peaks: dict[str, int] = {}
        labelling = 0.0
        while process.poll() is None and (not labelling or time.monotonic() - labelling < chosen.seconds):
            for role, peak in measured(process.pid):
                peaks[role] = max(peaks.get(role, 0), peak)
            status = read_status(LocalPlace(store))
            if not labelling and status is not None and status.stage == "labelling":
                labelling = time.monotonic()
            time.sleep(0.5)
        status = read_status(LocalPlace(store))
        if process.poll() is None:
            os.kill(process.pid, signal.SIGTERM)
        code = process.wait()
        assert status is not None, f"exit code {code}"
        print(
            f"{status.total:,} rows planned {labelling - began:.0f} s after the start, {status.done:,} labelled, exit code {code}"
        )
        for role, peak in peaks.items():
            print(f"  {role:<13} peak {peak:.0f} MB")


def long_video(path: Path, minutes: int) -> Path:
    """Write a video of ten seconds over and over: 320 x 240 at 25 frames a second."""
    short = path.with_suffix(".part.mp4")
    picture = videos.texture(240, 320)
    frames = (np.roll(picture, 2 * t, axis=1) for t in range(250))
    videos.write_video(short, frames, "libx264", options={"g": "50", "bf": "0"})
    with av.open(str(short)) as source, av.open(str(path), "w") as out:
        packets = [packet for packet in source.demux(video=0) if packet.dts is not None]
        stream = out.add_stream_from_template(source.streams.video[0])
        step = packets[1].dts - packets[0].dts
        contents = [(bytes(packet), packet.is_keyframe, packet.time_base) for packet in packets]
        for number in range(minutes * 60 * 25):
            content, keyframe, base = contents[number % len(contents)]
            packet = av.Packet(content)
            packet.stream, packet.time_base = stream, base
            packet.pts = packet.dts = number * step
            packet.is_keyframe = keyframe
            out.mux(packet)
    short.unlink()
    return path


def crowd(folder: Path, store: Path, number: int) -> None:
    """Link many names to a few small videos, and leave beside the store what probing them would find."""
    smalls = [
        videos.write_video(folder / f"1-{seed}.mkv", videos.rotating(24, seed=seed)) for seed in range(16)
    ]
    probes = [asdict(probe_video(str(small))) for small in smalls]
    (store / PROBES).mkdir(parents=True)
    with (store / PROBES / "000000.jsonl").open("w") as known:
        for n in range(number):
            key = f"class {n % 400:03d}/{n:011d}_000000_000010.mkv"
            (folder / key).parent.mkdir(exist_ok=True)
            (folder / key).hardlink_to(smalls[n % 16])
            known.write(json.dumps({"key": key, "probe": probes[n % 16], "stage": "", "message": ""}) + "\n")


def measured(group: int) -> list[tuple[str, float]]:
    """Return (role, peak memory in MB) of every process of a session."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            if int((entry / "stat").read_text().rpartition(")")[2].split()[3]) != group:
                continue
            line = (entry / "cmdline").read_text().replace("\0", " ")
            peak = next(
                int(text.split()[1])
                for text in (entry / "status").read_text().splitlines()
                if text.startswith("VmHWM")
            )
        except (OSError, IndexError, StopIteration):
            continue
        role = next((name for word, name in ROLES.items() if word in line), None)
        if role is not None:
            found.append((role, peak / 1000))
    return found


if __name__ == "__main__":
    main()
