"""The program that decodes on behalf of a worker: `python -m vstats.pipeline.decode_child MEMORY_BYTES PARENT`.

A decoder may crash, hang or eat memory; here it does so in a process of its own, and costs one video.

Requests come on stdin and answers go to stdout, each a 4-byte big-endian length and that many bytes of JSON. A frame's
answer is followed by its pixels. While it decodes it says "tick" about once a second: slow can be told from stuck.
The first byte of all says that it is ready.
"""

import json
import os
import resource
import signal
import struct
import sys
import threading
import time
from dataclasses import asdict
from typing import Any, BinaryIO

from vstats.pipeline import decode
from vstats.pipeline.errors import DecodeError, InternalError

TICK_SECONDS = 1.0
LENGTH = struct.Struct(">I")
READY = b"!"


def main() -> None:
    """Answer requests until stdin ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the worker to act on
    limit, parent = int(sys.argv[1]), int(sys.argv[2])
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    requests = os.fdopen(os.dup(0), "rb")
    answers = os.fdopen(os.dup(1), "wb")
    devnull = os.open(os.devnull, os.O_RDWR)
    os.dup2(devnull, 1)  # whatever a library prints must not land among the answers
    threading.Thread(target=_end_with_parent, args=(parent,), daemon=True).start()
    ticker = _Ticker(answers)
    os.dup2(devnull, 2)  # what is said before goes to the parent, as the reason why we do not start
    answers.write(READY)
    answers.flush()
    while True:
        head = requests.read(LENGTH.size)
        if len(head) < LENGTH.size:
            return
        request = json.loads(requests.read(LENGTH.unpack(head)[0]))
        try:
            _answer(request, answers, ticker)
        except DecodeError as error:
            send(answers, {"error": str(error), "stage": error.stage})
        except MemoryError:
            message = f"{request['path']}: decoding needs more than the {limit >> 20} MiB that --decode-memory allows"
            send(answers, {"error": message, "stage": "decode"})
        except BrokenPipeError:
            return  # nobody waits for the answer any more
        except Exception as error:
            fault = InternalError.of(error, request["path"])
            send(answers, {"fault": str(fault), "details": fault.details})


def send(stream: BinaryIO, message: dict[str, Any], pixels: memoryview | bytes = b"") -> None:
    """Write one message, and the pixels that belong to it."""
    content = json.dumps(message).encode("utf-8", "surrogateescape")
    stream.write(LENGTH.pack(len(content)) + content)
    stream.write(pixels)
    stream.flush()


class _Ticker:
    def __init__(self, answers: BinaryIO) -> None:
        self._answers = answers
        self._last = time.monotonic()

    def __call__(self) -> None:
        now = time.monotonic()
        if now - self._last >= TICK_SECONDS:
            self._last = now
            send(self._answers, {"tick": True})


def _answer(request: dict[str, Any], answers: BinaryIO, ticker: _Ticker) -> None:
    path = request["path"]
    if "planes" in request:
        send(answers, {"sha256": decode.planes_sha256(path, ticker)})
        return
    if "wanted" not in request:
        send(answers, {"probe": asdict(decode.probe_video(path, ticker))})
        return
    for index, rgb in decode.wanted_frames(path, request["wanted"], ticker):
        send(answers, {"frame": index, "shape": rgb.shape}, rgb.data)


def _end_with_parent(parent: int) -> None:
    # A worker that is killed closes our stdin, but a decoder that hangs would never read it.
    while os.getppid() == parent:
        time.sleep(0.5)
    os._exit(1)


if __name__ == "__main__":
    main()
