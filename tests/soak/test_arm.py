"""An emulated ARM64 gives the bits of x86-64: frames of every codec, labels of the demo and of the real clips.

`VSTATS_TEST_DATA=... pytest -m soak -n 0 -s tests/soak/test_arm.py` builds the machine (a minute, a gigabyte) and runs it
(a quarter of an hour: emulated code is some ten times slower). On an ARM machine the ordinary suite says the same.
"""

import json
import os
import platform
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.golden import renew_checksums, renew_frames

pytestmark = [pytest.mark.soak, pytest.mark.timeout(7200)]

ROOT = Path(__file__).parent.parent.parent

SCRIPT = """
import json, platform, tempfile
from pathlib import Path
from tests.golden import renew_checksums, renew_frames
from vstats.pipeline.config import ExtractConfig

assert platform.machine() == "aarch64"
data = Path("/data")
found = {"frames": {
    "made": {p.name: renew_frames.checksums(p) for p in sorted(renew_frames.FOLDER.iterdir())},
    "real": {p.name: renew_frames.checksums(p) for p in renew_frames.real_videos(data)},
}}
for name in renew_checksums.CONFIGS:
    with tempfile.TemporaryDirectory() as folder:
        found[f"demo {name}"] = renew_checksums.demo_roots(name, Path(folder))
with tempfile.TemporaryDirectory() as folder:
    found["real clips sts"] = renew_checksums.roots(data / "videos", Path(folder) / "store", ExtractConfig())
print(json.dumps(found))
"""


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder with an emulated machine in it."""
    missing = [tool for tool in ("qemu-aarch64-static", "debootstrap", "unshare") if not shutil.which(tool)]
    if missing or os.geteuid() or platform.machine() != "x86_64" or sys.version_info[:2] != (3, 11):
        pytest.skip(
            "an emulated ARM64 needs root, Python 3.11 and an x86-64 Debian with "
            f"`apt-get install qemu-user-static debootstrap`; missing here: {', '.join(missing) or 'one of these'}"
        )
    folder = tmp_path_factory.mktemp("arm")
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
    subprocess.run([ROOT / "tests" / "soak" / "arm.sh", ROOT, folder], env=environment, check=True)
    return folder


def test_arm_gives_the_bits_of_x86(machine: Path, data_dir: Path) -> None:
    for name in ("videos", "broken"):
        shutil.copytree(data_dir / name, machine / "arm" / "data" / name)
    done = subprocess.run(
        [machine / "in-arm", "/bin/sh", "-c", 'cd /checkout && exec python3 -c "$1"', "sh", SCRIPT],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    golden = json.loads(renew_frames.FILE.read_text())
    frames = found.pop("frames")
    for group, videos in frames.items():
        assert [n for n, crcs in videos.items() if crcs != golden[group][n]] == []
        print(f"{group}: {len(videos)} videos, {sum(len(c.split()) for c in videos.values())} frames equal")
    assert found == json.loads(renew_checksums.FILE.read_text())
    print("equal digests:", ", ".join(found))
