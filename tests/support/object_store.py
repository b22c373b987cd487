"""An S3 server on loopback, in a process of its own: moto's, or one that takes no notice of conditions."""

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count

BUCKET = "bucket"
PATIENCE_S = 30
SERVER = """
import signal
import sys
from werkzeug.serving import run_simple
from moto.server import DomainDispatcherApplication, create_backend_app

app = DomainDispatcherApplication(create_backend_app)

away = False

def toggle(number, frame):
    global away
    away = not away

signal.signal(signal.SIGUSR1, toggle)

def careless(environ, start_response):
    if away:
        start_response("503 Slow Down", [])
        return []
    for header in sys.argv[3:]:
        environ.pop("HTTP_" + header.upper().replace("-", "_"), None)
    return app(environ, start_response)

run_simple(sys.argv[1], int(sys.argv[2]), careless, threaded=True)
"""

_numbers = count()


class S3Server:
    """One bucket in memory.

    Args:
        ignored: headers that it does not look at.
        address: where it listens.
    """

    def __init__(self, ignored: tuple[str, ...] = (), address: str = "127.0.0.1") -> None:
        self._address = address
        with socket.socket() as free:
            free.bind((address, 0))
            self.port = free.getsockname()[1]
        self._process = subprocess.Popen(
            [sys.executable, "-c", SERVER, address, str(self.port), *ignored],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        self._wait()
        urllib.request.urlopen(urllib.request.Request(f"{self.endpoint}/{BUCKET}", method="PUT")).close()

    @property
    def endpoint(self) -> str:
        return f"http://{self._address}:{self.port}"

    @property
    def environment(self) -> dict[str, str]:
        """What a client needs to know."""
        keys = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test"}
        return {
            **keys,
            "AWS_REGION": "us-east-1",
            "AWS_ENDPOINT_URL": self.endpoint,
            "AWS_EC2_METADATA_DISABLED": "true",
        }

    def new_url(self) -> str:
        """A place where nothing is yet."""
        return f"s3://{BUCKET}/run-{next(_numbers)}"

    @contextmanager
    def away(self) -> Iterator[None]:
        """Everything is answered with 503."""
        os.kill(self._process.pid, signal.SIGUSR1)
        try:
            yield
        finally:
            os.kill(self._process.pid, signal.SIGUSR1)

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Connections are taken and not answered."""
        os.kill(self._process.pid, signal.SIGSTOP)
        try:
            yield
        finally:
            os.kill(self._process.pid, signal.SIGCONT)

    def close(self) -> None:
        self._process.kill()
        self._process.wait()

    def _wait(self) -> None:
        deadline = time.monotonic() + PATIENCE_S
        while True:
            try:
                urllib.request.urlopen(self.endpoint, timeout=1).close()
                return
            except OSError:
                assert self._process.poll() is None, "the server has ended"
                assert time.monotonic() < deadline, "the server does not answer"
                time.sleep(0.05)
