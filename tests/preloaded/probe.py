"""Prints what a process is, as JSON: the same for a fork of the preloaded process as for a new interpreter."""

from __future__ import annotations

import json
import os
import resource
import signal
import sys
import tempfile
import threading
from pathlib import Path
from typing import Any


def _looks(stream: Any) -> list[object]:
    return [
        *(stream.encoding, stream.errors, stream.line_buffering, stream.write_through),
        *(stream.isatty(), type(stream.buffer).__name__),
    ]


if __name__ == "__main__":
    numbers = sorted(int(path.name) for path in Path("/dev/fd").iterdir())
    json.dump(
        {
            "arguments": sys.argv,
            "spec": sys.modules["__main__"].__spec__.name,  # type: ignore[union-attr]
            "path": sys.path,
            "flags": str(sys.flags),
            "environment": {
                name: value for name, value in os.environ.items() if name not in ("_", "PYDANTIC_DISABLE_PLUGINS")
            },
            "directory": str(Path.cwd()),
            "temporary": tempfile.gettempdir(),
            "home": str(Path.home()),
            "umask": os.umask(0),
            "handlers": {number.name: str(signal.getsignal(number)) for number in signal.Signals},
            "blocked": sorted(signal.pthread_sigmask(signal.SIG_BLOCK, [])),
            "wakeup": signal.set_wakeup_fd(-1),
            "streams": [_looks(stream) for stream in (sys.stdin, sys.stdout, sys.stderr)],
            # The last one is the folder's.
            "descriptors": numbers[:-1],
            "threads": threading.active_count(),
            "leads": os.getsid(0) == os.getpid(),
            "limits": [
                resource.getrlimit(getattr(resource, name)) for name in dir(resource) if name.startswith("RLIMIT")
            ],
        },
        sys.stdout,
    )
