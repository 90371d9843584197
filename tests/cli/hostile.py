"""A server before the embedded one that puts into its answers what the real service would never let stand in a name, and nobody can rule out in a message."""

from __future__ import annotations

import http.client
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler
from urllib.parse import urlsplit

from tests.cli.support import QuietServer

MARK = "HOSTILE"
"""In a tag or a name, it is replaced by the other text."""

_TEXT = rb"\u001b[31mred\u0007\n::error::forged\r\u202egnp.exe\ud800\u2028\u009b2J\u007fend"
_MESSAGE = re.compile(rb'("(?:exceptionMessage|message)": ?")')


class _Proxy(QuietServer):
    daemon_threads = True
    behind: str


class _Handler(BaseHTTPRequestHandler):
    server: _Proxy
    protocol_version = "HTTP/1.1"
    wbufsize = -1

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        asked = http.client.HTTPConnection(self.server.behind)
        asked.request(
            self.command,
            self.path,
            body,
            {name: value for name, value in self.headers.items() if name.lower() != "host"},
        )
        answer = asked.getresponse()
        data = answer.read().replace(MARK.encode(), _TEXT)
        if answer.status >= 400:
            data = _MESSAGE.sub(lambda found: found[1] + _TEXT, data)
        self.send_response(answer.status)
        for name, value in answer.getheaders():
            if name.lower() not in {"content-length", "connection", "date", "server"}:
                self.send_header(name, value)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)
        asked.close()

    do_GET = do_DELETE = do_POST  # noqa: N815  # the base class finds its methods by these names

    def log_message(self, *args: object) -> None:
        return


@contextmanager
def hostile(url: str) -> Iterator[str]:
    """Serve before a server; yields where."""
    server = _Proxy(("127.0.0.1", 0), _Handler)
    server.behind = urlsplit(url).netloc
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
