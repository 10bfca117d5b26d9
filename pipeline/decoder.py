"""Who decodes: this process, or a child process that may crash, hang or run out of memory at the cost of one video."""

import atexit
import json
import os
import selectors
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Generator, Sequence
from contextlib import suppress
from typing import Any, Protocol

import numpy as np

from vstats.pipeline import decode
from vstats.pipeline.config import DecodeLimits
from vstats.pipeline.decode_child import LENGTH, READY
from vstats.pipeline.errors import DecodeError, InternalError, WorkerError
from vstats.pipeline.records import U8, VideoProbe

DEATHS = 3
"""How many children may die on a video before it is given up: more than somebody kills by chance."""

START_SECONDS = 120.0
"""How long a child may take to start on a machine that is busy."""


class Decoder(Protocol):
    """Reads videos."""

    def probe(self, path: str) -> VideoProbe:
        """Return what `vstats.pipeline.decode.probe_video` returns."""
        ...

    def frames(self, path: str, wanted: Sequence[int]) -> Generator[tuple[int, U8], None, None]:
        """Yield what `vstats.pipeline.decode.wanted_frames` yields."""
        ...

    def planes_sha256(self, path: str) -> str:
        """Return what `vstats.pipeline.decode.planes_sha256` returns."""
        ...


class InProcess:
    """Decodes in this process."""

    def probe(self, path: str) -> VideoProbe:
        """See `Decoder`."""
        return decode.probe_video(path)

    def frames(self, path: str, wanted: Sequence[int]) -> Generator[tuple[int, U8], None, None]:
        """See `Decoder`."""
        return decode.wanted_frames(path, wanted)

    def planes_sha256(self, path: str) -> str:
        """See `Decoder`."""
        return decode.planes_sha256(path)


class _Died(Exception):
    """The child ended in the middle of a request; the message says how."""


class Child:
    """Decodes in a child process, started when first needed and again after it died or was left in mid-video.

    A child that dies is no proof against its video: somebody may have killed it. Another one goes on where it stopped,
    and a video is given up when `DEATHS` children died on it.
    """

    def __init__(self, limits: DecodeLimits) -> None:
        self._limits = limits
        self._process: subprocess.Popen[bytes] | None = None
        self._selector = selectors.DefaultSelector()
        self._busy = False
        atexit.register(self.stop)

    def probe(self, path: str) -> VideoProbe:
        """See `Decoder`."""
        return VideoProbe(**self._asked({"path": path})["probe"])

    def planes_sha256(self, path: str) -> str:
        """See `Decoder`."""
        return str(self._asked({"path": path, "planes": True})["sha256"])

    def frames(self, path: str, wanted: Sequence[int]) -> Generator[tuple[int, U8], None, None]:
        """See `Decoder`."""
        given = deaths = 0
        while given < len(wanted):
            self._ask({"path": path, "wanted": list(wanted[given:])})
            try:
                while given < len(wanted):
                    answer = self._answer(path)
                    rgb = np.empty(answer["shape"], np.uint8)
                    self._receive(path, rgb.data.cast("B"))
                    given += 1
                    self._busy = given < len(wanted)
                    yield answer["frame"], rgb
            except _Died as death:
                deaths += 1
                if deaths == DEATHS:
                    raise _crashed(path, death) from None

    def stop(self) -> None:
        """End the child."""
        process, self._process, self._busy = self._process, None, False
        if process is None:
            return
        assert process.stdin is not None
        assert process.stdout is not None
        process.kill()
        process.wait()
        self._selector.unregister(process.stdout)
        process.stdin.close()
        process.stdout.close()

    def _asked(self, request: dict[str, Any]) -> dict[str, Any]:
        """Return the one answer to a request, from as many children as it takes."""
        deaths = 0
        while True:
            self._ask(request)
            try:
                answer = self._answer(request["path"])
            except _Died as death:
                deaths += 1
                if deaths == DEATHS:
                    raise _crashed(request["path"], death) from None
                continue
            self._busy = False
            return answer

    def _ask(self, request: dict[str, Any]) -> None:
        if self._process is not None and (self._busy or self._process.poll() is not None):
            self.stop()
        process = self._process = self._process or self._start()
        content = json.dumps(request).encode("utf-8", "surrogateescape")
        assert process.stdin is not None
        unsent = memoryview(LENGTH.pack(len(content)) + content)
        with suppress(BrokenPipeError):  # it died just now: reading its answer says how
            while unsent:
                unsent = unsent[process.stdin.write(unsent) :]
        self._busy = True

    def _answer(self, path: str) -> dict[str, Any]:
        """Return the next answer that is more than a tick."""
        while True:
            head = bytearray(LENGTH.size)
            self._receive(path, memoryview(head))
            body = bytearray(LENGTH.unpack(head)[0])
            self._receive(path, memoryview(body))
            answer: dict[str, Any] = json.loads(body)
            if "error" in answer:
                self._busy = False
                raise DecodeError(answer["error"], stage=answer["stage"])
            if "fault" in answer:
                self._busy = False
                raise InternalError(answer["fault"], details=answer["details"])
            if "tick" not in answer:
                return answer

    def _receive(self, path: str, into: memoryview) -> None:
        process = self._process
        assert process is not None
        assert process.stdout is not None
        deadline = time.monotonic() + self._limits.timeout_seconds
        at = 0
        while at < len(into):
            if not self._selector.select(max(0.0, deadline - time.monotonic())):
                waited = f"{self._limits.timeout_seconds:g} s"
                self.stop()
                raise DecodeError(
                    f"{path}: no frame came for {waited} (--decode-timeout), the decoder hangs; "
                    "fetch the file again, convert it or leave it out",
                    stage="decode",
                )
            count = os.readv(process.stdout.fileno(), [into[at:]])
            if count == 0:
                raise self._died()
            at += count

    def _died(self) -> _Died:
        assert self._process is not None
        code = self._process.wait()
        self.stop()
        return _Died(f"ended by {signal.Signals(-code).name}" if code < 0 else f"exit code {code}")

    def _start(self) -> subprocess.Popen[bytes]:
        """Start a child and wait until it is ready: how long that takes, or that it fails, is no video's fault."""
        for _ in range(DEATHS):
            process = self._process = subprocess.Popen(
                [
                    *(sys.executable, "-m", "vstats.pipeline.decode_child"),
                    *(str(self._limits.memory_bytes), str(os.getpid())),
                ],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,  # until it is ready
                bufsize=0,
            )
            assert process.stdout is not None
            assert process.stderr is not None
            self._selector.register(process.stdout, selectors.EVENT_READ)
            with process.stderr as words:
                if (
                    self._selector.select(START_SECONDS)
                    and os.read(process.stdout.fileno(), len(READY)) == READY
                ):
                    return process
                self.stop()
                said = words.read().decode(errors="replace").splitlines()
        reason = f": {said[-1]}. " if said else "; is memory short, or --decode-memory too small? "
        raise WorkerError(
            f"a decoding process does not start within {START_SECONDS:g} s, or ends at once{reason}"
            "Run the same command again to go on"
        )


def _crashed(path: str, death: _Died) -> DecodeError:
    return DecodeError(
        f"{path}: the decoder crashed on it {DEATHS} times ({death}); fetch the file again, convert it or leave it out",
        stage="decode",
    )


_children: dict[tuple[int, DecodeLimits, int], Child] = {}
_children_lock = threading.Lock()


def decoder_for(limits: DecodeLimits | None, number: int = 0) -> Decoder:
    """Return a child of this thread within `limits`, kept from video to video; for None, this process itself.

    A thread that has videos decoded at once numbers its children; others may use them on its behalf.
    """
    if limits is None:
        return InProcess()
    key = (threading.get_ident(), limits, number)
    with _children_lock:
        if key not in _children:
            _children[key] = Child(limits)
        return _children[key]
