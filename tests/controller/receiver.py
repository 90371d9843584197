"""A receiver of notifications: a webhook that keeps what it was sent, and may be out of order."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler
from typing import Any

from tests.cli.support import QuietServer


class Receiver:
    """What arrived, in order. While ``broken`` everything is refused."""

    def __init__(self) -> None:
        self.url = ""
        self.bodies: list[dict[str, Any]] = []
        self.identities: list[str] = []
        self.broken = False

    def of(self, target: str) -> list[dict[str, Any]]:
        return [body for body in self.bodies if body["target"] == target]


@contextmanager
def receiver() -> Iterator[Receiver]:
    """Listen for as long as the context lasts."""
    found = Receiver()

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base class's name
            pass

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            if not found.broken:
                found.bodies.append(json.loads(body))
                found.identities.append(self.headers["X-Ivs-Reconciler-Id"])
            self.send_response(500 if found.broken else 200)
            self.send_header("Content-Length", "0")
            self.end_headers()

    server = QuietServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
    found.url = f"http://127.0.0.1:{server.server_address[1]}/hook"
    try:
        yield found
    finally:
        server.shutdown()
        server.server_close()
