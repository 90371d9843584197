"""The controller as its own process, and the way to talk to it."""

from __future__ import annotations

import http.client
import json
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.preloaded import Process

PATIENCE = 120.0
CREDENTIALS = {"AWS_ACCESS_KEY_ID": "123456789012", "AWS_SECRET_ACCESS_KEY": "not-a-real-secret-key"}


class Running:
    """A controller that serves; its log is read from a file."""

    def __init__(self, process: subprocess.Popen[bytes], log: Path) -> None:
        self.process = process
        self.log = log
        until(lambda: "serving on" in self.said or process.poll() is not None)
        assert process.poll() is None, self.said
        self.port = int(self.said.partition("serving on http://127.0.0.1:")[2].partition("\n")[0])

    @property
    def said(self) -> str:
        return self.log.read_text(encoding="utf-8")

    def lines(self, event: str) -> list[dict[str, Any]]:
        """Return the log's lines of one event."""
        found = []
        for line in self.said.splitlines():
            if line.startswith("{") and line.endswith("}"):
                content = json.loads(line)
                found += [content] if content["event"] == event else []
        return found

    def ask(
        self, path: str, method: str = "GET", body: bytes | None = None, **headers: str
    ) -> tuple[int, str, Mapping[str, str]]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE)
        connection.request(method, path, body, {name.replace("_", "-"): value for name, value in headers.items()})
        answer = connection.getresponse()
        text = answer.read().decode()
        connection.close()
        return answer.status, text, {name.lower(): value for name, value in answer.getheaders()}

    def wait_for(self, path: str, wanted: Callable[[int, str], bool]) -> str:
        text = ""

        def fits() -> bool:
            nonlocal text
            status, text, _ = self.ask(path)
            return wanted(status, text)

        until(fits)
        return text

    def until_ready(self) -> None:
        self.wait_for("/readyz", lambda status, _: status == 200)

    def end(self, number: int = signal.SIGTERM) -> int:
        self.process.send_signal(number)
        return self.process.wait(PATIENCE)


def until(wanted: Callable[[], bool]) -> None:
    """Wait for something to be true."""
    end = time.monotonic() + PATIENCE
    while not wanted():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.05)


@contextmanager
def running(folder: Path, *words: str, env: Mapping[str, str] | None = None) -> Iterator[Running]:
    """Run the controller in a folder for as long as the context lasts."""
    log = folder / "log"
    with log.open("wb") as handle:
        process = Process(
            ["run", "--listen", "127.0.0.1:0", "--log-format", "json", *words],
            cwd=folder,
            env={**os.environ, **CREDENTIALS, **(env or {})},
            stdout=handle,
            stderr=handle,
        )
    try:
        yield Running(process, log)
    finally:
        process.kill()
        process.wait()
    assert "Traceback" not in log.read_text(encoding="utf-8")
