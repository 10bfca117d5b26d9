"""An S3 server on this machine for tests, and the environment that reaches it."""

import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

BUCKET = "vstats"

# moto searches its own folders twice a request: a third of its time.
SERVER = """
import sys
from moto import backends, server
names = list(backends.list_of_moto_modules())
backends.list_of_moto_modules = lambda: names
server.main(sys.argv[1:])
"""


@contextmanager
def server() -> Iterator[str]:
    """Run a server with an empty bucket, and yield its address."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    address = f"http://127.0.0.1:{port}"
    command = [sys.executable, "-c", SERVER, "-H", "127.0.0.1", "-p", str(port)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + 120
        while True:
            try:
                ask(f"{address}/{BUCKET}", b"", "PUT")
                break
            except urllib.error.URLError:
                assert process.poll() is None, "moto did not start"
                assert time.monotonic() < deadline, "moto does not answer"
                time.sleep(0.05)
        yield address
    finally:
        process.kill()
        process.wait()


def ask(url: str, content: bytes, method: str) -> None:
    """Send a request that carries no signature."""
    request = urllib.request.Request(url, data=content, method=method)
    request.add_header("Content-Type", "application/octet-stream")
    urllib.request.urlopen(request, timeout=10).close()


@contextmanager
def refusing(address: str, after: int) -> Iterator[None]:
    """Let the server refuse every key after some requests more."""
    ask(f"{address}/moto-api/reset-auth", str(after).encode(), "POST")
    try:
        yield
    finally:
        ask(f"{address}/moto-api/reset-auth", b"inf", "POST")


def reach(address: str, environment: pytest.MonkeyPatch) -> None:
    """Set the variables that obstore reads, and no others of its kind."""
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        environment.delenv(name)
    environment.setenv("AWS_ENDPOINT_URL", address)
    environment.setenv("AWS_ACCESS_KEY_ID", "test")
    environment.setenv("AWS_SECRET_ACCESS_KEY", "test")
    environment.setenv("AWS_REGION", "us-east-1")
