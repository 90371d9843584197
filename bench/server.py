"""An embedded server in a process of its own, so that its cost is nobody else's."""

from __future__ import annotations

import json
import subprocess
import sys
import urllib.request
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Server:
    """A running server and its control interface."""

    url: str

    def control(self, name: str, **members: object) -> Any:
        """Call the control interface."""
        request = urllib.request.Request(
            f"{self.url}/_sandbox/{name}", json.dumps(members).encode(), {"Content-Type": "application/json"}
        )
        with urllib.request.urlopen(request, timeout=60) as answer:
            return json.loads(answer.read() or b"null")

    def calls(self) -> Counter[str]:
        """Return how often each operation was called since the record was cleared."""
        answer = self.control("calls", limit=1_000_000)
        records = answer["calls"] if isinstance(answer, Mapping) else answer
        return Counter(record["operation"] for record in records)


@contextmanager
def served(*options: str) -> Iterator[Server]:
    """Run ``sandbox serve`` on a free loopback port."""
    command = [sys.executable, "-m", "reconciler", "sandbox", "serve", "--port", "0", *options]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        line = process.stdout.readline()
        try:
            yield Server(line.split(" on ")[1].split()[0])
        finally:
            process.terminate()
