"""Commands as processes that do not import everything again.

The first command starts a process that has imported what commands import (``server``), one for each process of tests. It forks a child for each
command and gives it what ``python -m reconciler`` would have: arguments, environment, directory, descriptors, signal handlers.
So each command has a process id, signals and limits of its own, in about a tenth of the CPU time.

What an interpreter reads at its start (``server.INTERPRETER``) takes a new one, and ``make test PROCESSES=1`` starts one for every command.
"""

from __future__ import annotations

import atexit
import inspect
import os
import shlex
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tests.preloaded import client

_EXECUTE = "\nimport os, sys; os.execv(sys.executable, [sys.executable, *sys.argv[1:]])"
_ENVIRONMENT = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
_LOCK = threading.Lock()
_PATHS: list[str] = []


class Process(subprocess.Popen[Any]):
    """``python -m MODULE WORD...``, with the options of ``subprocess.Popen``. ``before`` is Python code that it runs first.

    ``fresh`` starts a new interpreter: a few tests of each kind do, so that the real thing stays tested.
    SIGINT is not ignored, even if the tests were started in the background of a shell. The process is killed when this object is deleted.
    """

    def __init__(
        self, words: Sequence[str], module: str = "reconciler", before: str = "", *, fresh: bool = False, **options: Any
    ) -> None:
        self._fresh = fresh or "PROCESSES" in os.environ
        self._words = words
        self._module = module
        self._before = before
        self._connection: socket.socket | None = None
        self._receiving = threading.Lock()
        first = ("-c", before + _EXECUTE) if before else ()
        super().__init__([sys.executable, *first, "-m", module, *words], preexec_fn=interruptible, **options)

    def _execute_child(self, *arguments: Any) -> None:
        if self._fresh or not self._forked(*arguments):
            super()._execute_child(*arguments)  # type: ignore[misc]  # typeshed has the public methods

    def _forked(self, *arguments: Any) -> bool:
        """Begin the process; returns whether it could do without an interpreter of its own."""
        given = inspect.signature(super()._execute_child).bind(*arguments).arguments  # type: ignore[misc]
        pipes = {name: given[name] for name in ("p2cread", "p2cwrite", "c2pread", "c2pwrite", "errread", "errwrite")}
        streams = [pipes["p2cread"], pipes["c2pwrite"], pipes["errwrite"]]
        numbers = [0, 1, 2, *given["pass_fds"]]
        request = {
            "module": self._module,
            "words": list(self._words),
            "environment": dict(os.environ if given["env"] is None else given["env"]),
            "directory": str(Path(given["cwd"] or ".").absolute()),
            "numbers": numbers,
            "session": given["start_new_session"],
            "before": self._before,
        }
        descriptors = [number if own == -1 else own for number, own in zip(numbers, streams, strict=False)]
        self._connection = client.ask(_path(), request, [*descriptors, *given["pass_fds"]])
        self.pid = client.answer(self._connection)
        if not self.pid:
            self._connection.close()
            self._connection = None
            return False
        self._child_created = True
        self._close_pipe_fds(**pipes)  # type: ignore[attr-defined]
        return True

    def poll(self) -> int | None:
        return super().poll() if self._connection is None else self._ended(0)

    def wait(self, timeout: float | None = None) -> int:
        if self._connection is None:
            return super().wait(timeout)
        code = self._ended(timeout)
        if code is None:
            raise subprocess.TimeoutExpired(self.args, timeout or 0)
        return code

    def _ended(self, timeout: float | None) -> int | None:
        """Return the exit status, or nothing after ``timeout`` seconds."""
        if not self._receiving.acquire(timeout=-1 if timeout is None else max(0, timeout)):
            return None
        try:
            if self.returncode is None and self._connection is not None:
                self._connection.settimeout(None if timeout is None else max(0, timeout))
                self.returncode = client.answer(self._connection)
                self._connection.close()
        except (BlockingIOError, TimeoutError):
            return None
        finally:
            self._receiving.release()
        return self.returncode


def interruptible() -> None:
    """Handle SIGINT as a program in the foreground does; a shell's background job ignores it, and so do its children."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


def write_program(path: Path, module: str = "reconciler") -> None:
    """Write a program for shells that runs ``python -m MODULE``."""
    words = [sys.executable, "-m", module]
    if "PROCESSES" not in os.environ:
        # Isolated, without site: it needs nothing but itself.
        words = [sys.executable, "-I", "-S", client.__file__, _path(), module]
    path.write_text(f'#!/bin/sh\nexec {shlex.join(words)} "$@"\n', encoding="utf-8")
    path.chmod(0o755)


def _path() -> str:
    """Return the socket of the preloaded process, which is started if it has not been."""
    with _LOCK:
        if not _PATHS:
            folder = tempfile.mkdtemp(prefix="preloaded-")
            with socket.socket(socket.AF_UNIX) as listener:
                listener.bind(f"{folder}/socket")
                listener.listen(64)
                server = subprocess.Popen(
                    [sys.executable, "-m", "tests.preloaded.server", str(listener.fileno())],
                    cwd=Path(__file__).resolve().parents[2],
                    # A home that is found in whatever keeps it.
                    env={**_ENVIRONMENT, "HOME": folder},
                    pass_fds=[listener.fileno()],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    # A key at the terminal of the tests must not interrupt it.
                    start_new_session=True,
                )
            atexit.register(_end, server)
            # Its start is part of no time that a test measures.
            assert server.stdout is not None
            with server.stdout:
                assert server.stdout.read(1), "the preloaded process did not start"
            _PATHS.append(f"{folder}/socket")
        return _PATHS[0]


def _end(server: subprocess.Popen[bytes]) -> None:
    assert server.stdin is not None
    server.stdin.close()
    server.wait()
