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
from vstats.pipeline.decode_child import LENGTH
from vstats.pipeline.errors import DecodeError
from vstats.pipeline.records import U8, VideoProbe


class Decoder(Protocol):
    """Reads videos."""

    def probe(self, path: str) -> VideoProbe:
        """Return what `vstats.pipeline.decode.probe_video` returns."""
        ...

    def frames(self, path: str, wanted: Sequence[int]) -> Generator[tuple[int, U8], None, None]:
        """Yield what `vstats.pipeline.decode.wanted_frames` yields."""
        ...


class InProcess:
    """Decodes in this process."""

    def probe(self, path: str) -> VideoProbe:
        """See `Decoder`."""
        return decode.probe_video(path)

    def frames(self, path: str, wanted: Sequence[int]) -> Generator[tuple[int, U8], None, None]:
        """See `Decoder`."""
        return decode.wanted_frames(path, wanted)


class Child:
    """Decodes in a child process, started when first needed and again after it died or was left in mid-video."""

    def __init__(self, limits: DecodeLimits) -> None:
        self._limits = limits
        self._process: subprocess.Popen[bytes] | None = None
        self._selector = selectors.DefaultSelector()
        self._busy = False
        atexit.register(self.stop)

    def probe(self, path: str) -> VideoProbe:
        """See `Decoder`."""
        self._ask({"path": path})
        answer = self._answer(path)
        self._busy = False
        return VideoProbe(**answer["probe"])

    def frames(self, path: str, wanted: Sequence[int]) -> Generator[tuple[int, U8], None, None]:
        """See `Decoder`."""
        if not wanted:
            return
        self._ask({"path": path, "wanted": list(wanted)})
        for index in wanted:
            answer = self._answer(path)
            rgb = np.empty(answer["shape"], np.uint8)
            self._receive(path, rgb.data.cast("B"))
            self._busy = index != wanted[-1]
            yield answer["frame"], rgb

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

    def _ask(self, request: dict[str, Any]) -> None:
        if self._process is not None and (self._busy or self._process.poll() is not None):
            self.stop()
        process = self._process = self._process or self._start()
        content = json.dumps(request).encode("utf-8", "surrogateescape")
        assert process.stdin is not None
        with suppress(BrokenPipeError):  # it died just now: reading its answer says how
            process.stdin.write(LENGTH.pack(len(content)) + content)
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
                raise self._died(path)
            at += count

    def _died(self, path: str) -> DecodeError:
        assert self._process is not None
        code = self._process.wait()
        self.stop()
        how = f"ended by {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
        return DecodeError(
            f"{path}: the decoder crashed on it ({how}); fetch the file again, convert it or leave it out",
            stage="decode",
        )

    def _start(self) -> subprocess.Popen[bytes]:
        process = subprocess.Popen(
            [sys.executable, "-m", "vstats.pipeline.decode_child", str(self._limits.memory_bytes)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            bufsize=0,
        )
        assert process.stdout is not None
        self._selector.register(process.stdout, selectors.EVENT_READ)
        return process


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
