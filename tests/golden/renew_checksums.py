"""Write manifests/checksums.json anew: `python -m tests.golden.renew_checksums` (with VSTATS_TEST_DATA for its part).

The file says which digest each of these inputs must have on any machine; `tests/test_checksums.py` compares.
"""

import json
import os
import tempfile
from pathlib import Path

from vstats.pipeline.config import ExtractConfig, RunConfig
from vstats.pipeline.demo import make_videos
from vstats.pipeline.extract import extract
from vstats.pipeline.store import Store

FILE = Path(__file__).parent.parent.parent / "manifests" / "checksums.json"

CONFIGS = {
    "sts": ExtractConfig(clips_per_video=2, crops="five", flip="both", save=("clips", "flow", "statistics")),
    "sts-released": ExtractConfig(profile="sts-released"),
    "mas-released": ExtractConfig(profile="mas-released"),
    "sts large": ExtractConfig(working_height=256, working_width=342, crop_size=224),
    "sts flow source": ExtractConfig(flow_size="source"),
}
"""What the demo's videos are labelled with; real clips with the plain "sts" of one centre clip."""


def demo_roots(name: str, folder: Path) -> dict[str, str]:
    """Return the digest of every array of the demo's videos under one configuration."""
    return roots(make_videos(folder / "videos"), folder / "store", CONFIGS[name])


def roots(source: Path, store: Path, config: ExtractConfig, workers: int = 0) -> dict[str, str]:
    """Return the digest of every array that `config` gives for the videos of a folder."""
    extract([str(source)], store, config, RunConfig(workers=workers))
    return Store.open(store).compute_roots()


def main() -> None:
    """Renew the file."""
    record = json.loads(FILE.read_text()) if FILE.exists() else {}
    for name in CONFIGS:
        with tempfile.TemporaryDirectory() as folder:
            record[f"demo {name}"] = demo_roots(name, Path(folder))
    data = os.environ.get("VSTATS_TEST_DATA")
    if data:
        with tempfile.TemporaryDirectory() as folder:
            record["real clips sts"] = roots(Path(data) / "videos", Path(folder) / "store", ExtractConfig())
    FILE.write_text(json.dumps(record, indent=1, sort_keys=True) + "\n")


if __name__ == "__main__":
    main()
