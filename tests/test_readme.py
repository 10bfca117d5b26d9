"""Every command and every line of Python in the README runs as written, in the order in which it stands there."""

import importlib
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import videos

pytestmark = pytest.mark.long

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)


SECTIONS = [
    ("Label your own videos", "See a label", "Read a store in five lines"),
    ("On a cluster",),
    ("The kernels, for your own arrays", "Train from a store"),
]
"""Sections with commands or Python; those of a line follow one another in one folder."""


def sections() -> dict[str, str]:
    """Return the text of every section by its title."""
    parts = re.split(r"^## (.*)\n", README, flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


@pytest.fixture
def desk(tmp_path: Path) -> Path:
    """A folder such as a new user has: some videos, and a data set with its official kind of list."""
    (tmp_path / "videos").mkdir()
    videos.write_video(tmp_path / "videos" / "right.mkv", videos.moving_square("right", 13, 17))
    videos.write_video(tmp_path / "videos" / "turning.mkv", videos.rotating(18))
    clips = tmp_path / "UCF-101" / "Swing"
    clips.mkdir(parents=True)
    videos.write_video(clips / "v_Swing_g01_c01.avi", videos.moving_square("down", 6, 18, size=10))
    (tmp_path / "trainlist01.txt").write_bytes(b"Swing/v_Swing_g01_c01.avi 1\r\n")
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    return tmp_path


@pytest.fixture
def one_core() -> Iterator[None]:
    """Let every command find one core and start one worker: each costs a second, and more would show nothing more."""
    if not hasattr(os, "sched_setaffinity"):
        yield
        return
    cores = os.sched_getaffinity(0)
    mine = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
    os.sched_setaffinity(0, {sorted(cores)[mine % len(cores)]})
    yield
    os.sched_setaffinity(0, cores)


@pytest.mark.timeout(900)  # a dozen commands, each of which starts workers: much where others share the cores
@pytest.mark.usefixtures("one_core")
@pytest.mark.parametrize("titles", SECTIONS, ids=lambda titles: titles[0])
def test_the_shell_commands_and_the_python(desk: Path, titles: tuple[str, ...]) -> None:
    text = "".join(sections()[title] for title in titles)
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
    for language, block in re.findall(r"^```(bash|python)\n(.*?)^```$", text, re.MULTILINE | re.DOTALL):
        command = ["bash", "-euo", "pipefail", "-c"] if language == "bash" else [sys.executable, "-c"]
        done = subprocess.run(
            [*command, block], cwd=desk, env=environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, f"{block}\n{done.stdout}\n{done.stderr}"
        if "dask worker" not in block:  # Dask says so when its workers are stopped
            assert "Traceback" not in done.stderr


def test_no_command_and_no_python_is_left_out() -> None:
    told = [
        title for title, text in sections().items() if re.search(r"^```(bash|python)$", text, re.MULTILINE)
    ]
    assert sorted(told) == sorted(title for titles in SECTIONS for title in titles)
    assert len(blocks("bash")) >= 2
    assert len(blocks("python")) >= 2


def test_commands_that_take_minutes_are_spelled_right(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(ROOT / "examples"))
    commands = re.findall(r"^python examples/(\w+)\.py ([^#\n]*)", "".join(blocks("sh")), re.MULTILINE)
    assert len(commands) == 2
    for name, arguments in commands:
        importlib.import_module(name).parse(arguments.split())


def test_the_demo_shows_what_the_readme_shows(tmp_path: Path) -> None:
    assert "vstats extract --demo" in "".join(blocks("sh"))
    done = subprocess.run(
        [sys.executable, "-m", "vstats.cli", "extract", "--demo"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    shown = next(block for block in blocks("text") if "digest" in block and "rows    10" in block)

    def steady(text: str) -> list[str]:
        return [line.rstrip() for line in text.splitlines() if not line.startswith("time")]

    assert steady(done.stdout) == steady(shown)


def test_ci_and_docker_use_the_readmes_commands() -> None:
    assert any("pip install '.[test]' && pytest" in block for block in blocks("sh"))
    ci = (ROOT / ".ci" / "run").read_text()
    assert "'.[test]'" in ci
    assert re.search(r"^pytest$", ci, re.MULTILINE)
    dockerfile = (ROOT / "Dockerfile").read_text()
    assert "pip install --no-cache-dir -c /src/constraints/python3.11.txt /src" in dockerfile
    assert 'ENTRYPOINT ["vstats"]' in dockerfile


def test_every_file_that_the_readme_names_is_there() -> None:
    names = re.findall(r"\]\((?!https?:)([^)#]+)\)", README)
    assert names
    assert [name for name in names if not (ROOT / name).exists()] == []
    house = next(block for block in blocks("text") if block.startswith("manifest row"))
    room = ""
    for line in house.splitlines()[2:]:
        if not line.startswith(" "):
            room = line.split()[0]
            assert (ROOT / room).is_dir(), room
        for name in re.findall(r"[\w/]+\.py\b|\b\w+/(?=\s)", line.removeprefix(room)):
            assert (ROOT / room / name).exists() or (ROOT / name).exists(), f"{room}{name}"
