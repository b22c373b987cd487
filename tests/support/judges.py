"""A judge to ask in tests: a real HTTP server on this machine that speaks as much of the protocol as is used."""

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Reply = str | int | tuple[int, dict[str, str]]
"""An answer's text, or a status (with headers)."""


class Endpoint:
    """An OpenAI-compatible server whose answers a test decides; it counts what it is asked."""

    def __init__(self, answer: Callable[[str, str, int], Reply]) -> None:
        self.asked: list[dict[str, Any]] = []
        self.keys: set[str | None] = set()
        self.busiest = 0
        self._busy = 0
        self._lock = threading.Lock()
        self._answer = answer
        self.url = ""

    def handle(self, handler: BaseHTTPRequestHandler) -> None:
        body = json.loads(handler.rfile.read(int(handler.headers["Content-Length"])))
        with self._lock:
            self.asked.append({"path": handler.path, **body})
            self.keys.add(handler.headers.get("Authorization"))
            self._busy += 1
            self.busiest = max(self.busiest, self._busy)
            n = len(self.asked)
        user = body["messages"][1]["content"]
        a, b = (user.split(f"<answer_{side}>\n")[1].split(f"\n</answer_{side}>")[0] for side in "ab")
        reply = self._answer(a, b, n)
        with self._lock:
            self._busy -= 1
        if isinstance(reply, str):
            content = json.dumps({"choices": [{"message": {"content": reply}}]}).encode()
            handler.send_response(200)
        else:
            status, headers = reply if isinstance(reply, tuple) else (reply, {})
            content = b"{}"
            handler.send_response(status)
            for name, value in headers.items():
                handler.send_header(name, value)
        handler.send_header("Content-Length", str(len(content)))
        handler.end_headers()
        handler.wfile.write(content)


@contextmanager
def endpoint(answer: Callable[[str, str, int], Reply]) -> Iterator[Endpoint]:
    served = Endpoint(answer)

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            served.handle(self)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    served.url = f"http://127.0.0.1:{server.server_port}/v1"
    try:
        yield served
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
