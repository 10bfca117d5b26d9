"""`vstats doctor`: every line is true, which is seen by making each false."""

import json
import os
import re
import resource
import shutil
import socket
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.util import find_spec
from pathlib import Path
from typing import ClassVar
from urllib.parse import parse_qs, urlsplit

import pytest

from tests import s3, videos
from vstats.cli.main import main
from vstats.kernels import ops
from vstats.kernels.cuda.device import is_installed
from vstats.pipeline import proof
from vstats.pipeline.config import ExtractConfig, RunConfig
from vstats.pipeline.doctor import CHECKS, Case, Finding, examine, installation, machine, place
from vstats.pipeline.doctor.case import Answer
from vstats.pipeline.place import open_place

pytestmark = pytest.mark.long


def ask(check: str, *, workers: int = 1, device: str = "cpu", output: str | Path | None = None) -> Answer:
    case = Case(
        config=ExtractConfig(),
        run=RunConfig(workers=workers, device=device),
        output=None if output is None else str(output),
    )
    found = CHECKS[check](case)
    assert found is not None
    assert found.found
    assert bool(found.advice) == (found.state != "ok"), "what to do is said where something is to be done"
    return found


def doctor(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[object, str]:
    with pytest.raises(SystemExit) as ended:
        main(["doctor", *map(str, arguments)])
    return ended.value.code, capsys.readouterr().out


# ---------------------------------------------------------------------------------------------------- all of it


def test_a_fit_machine_is_found_fit_and_left_as_it_was(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    videos.write_video(tmp_path / "videos.mkv", videos.rotating(18))
    code, out = doctor(
        capsys,
        tmp_path / "videos.mkv",
        "-o",
        tmp_path / "new" / "a.vstats",
        "--workers",
        1,
        "--flow",
        "dis",
        "--json",
    )
    report = json.loads(out)
    states = {finding["check"]: finding["state"] for finding in report["findings"]}
    assert list(states) == list(CHECKS)
    # A container that runs the tests may have a small /dev/shm, and a processor may lack AVX2: that is no failure.
    assert {state for check, state in states.items() if check not in ("shared memory", "cpu", "gpu")} == {
        "ok"
    }
    assert "fail" not in states.values()
    assert code == 0
    assert report["state"] in ("ok", "warn")
    assert report["estimate"]["rows"] == report["estimate"]["workers"] == 1
    assert report["estimate"]["seconds"]["start"] > 0
    assert [path.name for path in tmp_path.iterdir()] == ["videos.mkv"]


def test_a_failed_check_is_exit_code_4_with_what_to_do(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(case: Case) -> Answer:
        raise TypeError("no such thing")

    for name in list(CHECKS)[1:]:
        monkeypatch.delitem(CHECKS, name)
    monkeypatch.setitem(CHECKS, "breaks", broken)
    code, out = doctor(capsys)
    assert code == 4
    assert [line.split()[0] for line in out.splitlines()] == ["ok", "fail", "->", "2"]
    assert "TypeError: no such thing" in out
    assert "Traceback" not in out


def test_a_package_that_cannot_be_loaded_is_named() -> None:
    script = (
        "import sys; sys.modules['av'] = None; from vstats.cli.main import main; main(['doctor', '--json'])"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 4
    assert "import of av" in json.loads(done.stdout)["findings"][0]["found"]
    assert done.stderr == ""


# ---------------------------------------------------------------------------------------------------- installation


def distribution(folder: Path, name: str, version: str, *lines: str) -> None:
    """Install a package of this name and version, as far as its metadata goes."""
    info = folder / f"{name}-{version}.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(
        "\n".join(["Metadata-Version: 2.1", f"Name: {name}", f"Version: {version}", *lines, ""])
    )


def test_versions_outside_what_was_tested(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert ask("packages").state == "ok"
    assert ask("python").state == "ok"
    distribution(tmp_path, "numpy", "1.26.4")
    monkeypatch.syspath_prepend(str(tmp_path))
    old = ask("packages")
    assert old.state == "fail"
    assert "numpy is 1.26.4" in old.found
    assert "pip install 'numpy" in old.advice
    wanted = ("no-such-package>=2", "moto>=99; extra == 'test'", "torch>=99; extra == 'torch'")
    distribution(
        tmp_path, "vstats", "0.1.0", "Requires-Python: >=4", *(f"Requires-Dist: {text}" for text in wanted)
    )
    other = ask("packages")
    assert other.state == "fail"
    assert "no-such-package is missing" in other.found
    assert "moto" not in other.found  # only tests use it
    assert ("torch" in other.found) == (find_spec("torch") is not None)
    assert "'no-such-package>=2'" in other.advice
    assert ask("python").state == "fail"
    (tmp_path / "newer").mkdir()
    tested = "Classifier: Programming Language :: Python :: 3.10"
    distribution(tmp_path / "newer", "vstats", "0.1.0", "Requires-Python: >=3.10", tested)
    monkeypatch.syspath_prepend(str(tmp_path / "newer"))
    assert ask("python").state == "warn"


def test_an_ffmpeg_without_decoders(monkeypatch: pytest.MonkeyPatch) -> None:
    assert ask("decoders").state == "ok"
    monkeypatch.setattr(installation, "OTHERS", ("h264", "of-nobody"))
    assert ask("decoders").state == "warn"
    monkeypatch.setattr(installation, "COMMON", ("of-nobody-at-all",))
    found = ask("decoders")
    assert found.state == "fail"
    assert "lacks of-nobody-at-all, of-nobody" in found.found


def test_other_bits(monkeypatch: pytest.MonkeyPatch) -> None:
    proof.arithmetic.cache_clear()  # of what other tests of this process computed
    assert ask("proof").state == "ok"
    gray = ops.rgb_to_gray
    monkeypatch.setattr(ops, "rgb_to_gray", lambda rgb: gray(rgb) ^ 1)
    proof.arithmetic.cache_clear()
    found = ask("proof")
    proof.arithmetic.cache_clear()
    assert found.state == "fail"
    assert "resize (vstats" in found.found
    assert "flow (vstats" in found.found
    assert "decode" not in found.found
    assert "--unproven" in found.advice


def test_a_cache_that_others_may_write_or_of_other_sources(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VSTATS_CACHE_DIR", str(tmp_path))
    (tmp_path / "kernels-0123456789abcdef").mkdir()
    found = ask("kernels")
    assert found.state == "ok"
    assert "1 folders there are of other versions" in found.found
    tmp_path.chmod(0o777)
    assert ask("kernels").state == "warn"


# ---------------------------------------------------------------------------------------------------- machine


@pytest.mark.skipif(is_installed(), reason="CuPy is here, and perhaps a GPU")
def test_no_gpu() -> None:
    assert ask("gpu", device="auto").state == "ok"
    asked = ask("gpu", device="cuda")
    assert asked.state == "fail"
    assert "--device cpu" in asked.advice


def test_more_workers_than_a_container_has_cores_or_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert ask("memory").state == "ok"
    assert ask("memory", workers=100_000).state == "fail"
    monkeypatch.setattr(machine, "QUOTA", tmp_path / "cpu.max")
    (tmp_path / "cpu.max").write_text("150000 100000\n")
    assert "--workers 1" in ask("cpu", workers=2).advice
    (tmp_path / "memory.max").write_text(f"{3 << 30}\n")
    (tmp_path / "memory.current").write_text(f"{1 << 30}\n")
    assert ask("memory", workers=2).state == "ok"
    assert ask("memory", workers=6).advice == "give --workers 4"
    (tmp_path / "memory.current").write_text(f"{3 << 30}\n")
    assert "other programs" in ask("memory").advice


def test_too_few_open_files() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    assert ask("open files").state == "ok"
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (70, hard))
        found = ask("open files")
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert found.state == "fail"
    assert "ulimit -n 80" in found.advice


# What mounting can do to a machine, in a namespace of its own.
MOUNTED = """
set -e
mkdir "$1/full" "$1/readonly"
mount -t tmpfs -o size=64k tmpfs "$1/full"
head -c 100000 /dev/zero > "$1/full/file" 2>/dev/null || true
mount -t tmpfs -o size=64k,mode=700,ro tmpfs "$1/readonly"
mount -t tmpfs -o size=64k,ro tmpfs /dev/shm
export VSTATS_CACHE_DIR="$1/readonly"
exec "$2" -c "$3" "$1/full/a.vstats"
"""

# Without the proof: there is nowhere to keep its kernels, and compiling them takes long.
DOCTOR = """
import sys
from vstats.cli.main import main
from vstats.pipeline import doctor
del doctor.CHECKS["proof"]
main(["doctor", "-o", sys.argv[1], "--workers", "1", "--device", "cpu", "--json"])
"""


def test_a_full_disk_a_cache_that_is_read_only_and_no_shared_memory(tmp_path: Path) -> None:
    alone = ["unshare", "--mount", *(["--map-root-user"] if os.geteuid() else [])]
    mount = [*alone, "mount", "-t", "tmpfs", "tmpfs", tmp_path]
    if not shutil.which("unshare") or subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("this user may not mount, not even in a namespace of their own")
    command = [*alone, "sh", "-c", MOUNTED, "sh", tmp_path, sys.executable, DOCTOR]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 4, done.stderr
    assert "Traceback" not in done.stderr
    found = {finding["check"]: finding for finding in json.loads(done.stdout)["findings"]}
    bad = {name: finding["state"] for name, finding in found.items() if finding["state"] != "ok"}
    bad.pop("cpu", None)  # a processor without AVX2
    assert bad == {
        "kernels": "warn", "shared memory": "fail", "workers": "fail", "store": "fail", "disk": "fail"
    }  # fmt: skip
    assert "No space left" in found["store"]["found"]
    assert "0 kB free" in found["disk"]["found"]


# ---------------------------------------------------------------------------------------------------- place


def test_a_folder_that_cannot_be_written() -> None:
    # Not even root makes folders there.
    found = ask("store", output="/proc/a.vstats")
    assert found.state == "fail"
    assert found.found.startswith("/proc/a.vstats cannot be written")


def test_a_file_system_with_little_room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert ask("disk", output=tmp_path / "no" / "such" / "a.vstats").state == "ok"
    monkeypatch.setattr(place, "FLOOR_FILES", 1 << 60)
    if os.statvfs(tmp_path).f_files:
        assert "files" in ask("disk", output=tmp_path / "a.vstats").found
    monkeypatch.setattr(place, "FLOOR_BYTES", 1 << 60)
    assert ask("disk", output=tmp_path / "a.vstats").state == "fail"


def test_object_storage(s3_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    found = ask("store", output=s3_url)
    assert found.state == "ok", found
    assert open_place(s3_url).sizes() == {}
    no_bucket = examined("store", f"s3://none-{s3.BUCKET}/a.vstats")
    assert no_bucket.state == "fail"
    assert "bucket is not there" in no_bucket.found
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{free.getsockname()[1]}")
        nobody = examined("store", s3_url)
    assert nobody.state == "fail"
    assert "cannot be reached" in nobody.found


def examined(check: str, output: str) -> Finding:
    """Return what a whole diagnosis says of one check."""
    case = Case(config=ExtractConfig(), run=RunConfig(workers=0, device="cpu"), output=output)
    return next(finding for finding in examine(case).findings if finding.check == check)


class Forgetful(BaseHTTPRequestHandler):
    """An S3 server that knows no conditions: every put is done."""

    protocol_version = "HTTP/1.1"
    objects: ClassVar[dict[str, bytes]] = {}

    def do_PUT(self) -> None:
        content = self.rfile.read(int(self.headers["Content-Length"]))
        self.objects[urlsplit(self.path).path] = content
        self.reply(200, b"")

    def do_GET(self) -> None:
        name, query = urlsplit(self.path).path, parse_qs(urlsplit(self.path).query)
        if "list-type" in query:
            prefix = query.get("prefix", [""])[0]
            names = [key.split("/", 2)[2] for key in self.objects]
            entries = "".join(
                f"<Contents><Key>{key}</Key><Size>1</Size><LastModified>2026-01-01T00:00:00.000Z</LastModified></Contents>"
                for key in sorted(names)
                if key.startswith(prefix)
            )
            self.reply(
                200,
                f"<ListBucketResult><IsTruncated>false</IsTruncated>{entries}</ListBucketResult>".encode(),
            )
        elif name in self.objects:
            self.reply(200, self.objects[name])
        else:
            self.reply(404, b"<Error><Code>NoSuchKey</Code></Error>")

    def do_POST(self) -> None:
        asked = self.rfile.read(int(self.headers["Content-Length"])).decode()
        for key in re.findall("<Key>(.*?)</Key>", asked):
            self.objects.pop(f"/{s3.BUCKET}/{key}", None)
        self.reply(200, b"<DeleteResult></DeleteResult>")

    def do_DELETE(self) -> None:
        self.objects.pop(urlsplit(self.path).path, None)
        self.reply(204, b"")

    def reply(self, code: int, content: bytes) -> None:
        self.send_response(code)
        self.send_header("Content-Length", str(len(content)))
        self.send_header("ETag", '"1"')
        self.send_header("Last-Modified", "Thu, 01 Jan 2026 00:00:00 GMT")
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *arguments: object) -> None:
        """Say nothing."""


def test_a_server_without_conditional_puts(monkeypatch: pytest.MonkeyPatch) -> None:
    with ThreadingHTTPServer(("127.0.0.1", 0), Forgetful) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            s3.reach(f"http://127.0.0.1:{server.server_port}", monkeypatch)
            found = ask("store", output=f"s3://{s3.BUCKET}/a.vstats")
        finally:
            server.shutdown()
            thread.join()
    assert found.state == "fail"
    assert "no conditional puts" in found.found
    assert Forgetful.objects == {}
