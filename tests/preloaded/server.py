"""A process that has imported what commands import, and forks one for each request. See ``tests.preloaded``.

``python -m tests.preloaded.server DESCRIPTOR`` serves at the listening socket of that number, and ends when its standard input does.
It writes a line when it is ready.
"""

from __future__ import annotations

import contextlib
import fcntl
import gc
import importlib
import io
import marshal
import os
import pkgutil
import random
import runpy
import selectors
import signal
import site
import socket
import sys
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn, NotRequired, TypedDict

if TYPE_CHECKING:
    from pydantic import BaseModel

EXTRAS = frozenset({"github", "gitlab", "waitress", "werkzeug", "prometheus_client", "distributed"})
"""Packages of extras. None is imported beforehand, so that a command finds those missing that its ``PYTHONPATH`` hides."""

INTERPRETER = ("PYTHON", "LANG", "LC_", "TZ", "AWS_DATA_PATH")
"""How variables begin that an interpreter, or botocore's cache of models, reads once. A command that has others needs an interpreter of its own."""


class Request(TypedDict):
    """What a process is to be: ``python -m MODULE WORD...`` with this environment, in this directory.

    ``numbers`` are those that the descriptors sent along get, in order; 0, 1 and 2 are closed if they are not among them.
    ``ignored`` are signals that it ignores; ``session`` makes it the leader of a session.
    ``before`` is Python code that it runs first, as ``preexec_fn`` of ``subprocess.Popen``.
    """

    module: str
    words: list[str]
    environment: dict[str, str]
    directory: str
    numbers: list[int]
    umask: NotRequired[int]
    ignored: NotRequired[list[int]]
    session: NotRequired[bool]
    before: NotRequired[str]


def preload() -> None:
    """Import all of the program but what needs an extra, and fill the caches that last as long as a process."""
    sys.modules.update(dict.fromkeys(EXTRAS))  # type: ignore[arg-type]  # None makes an import fail
    import reconciler

    for module in pkgutil.walk_packages(reconciler.__path__, "reconciler."):
        if not module.name.endswith("__main__"):
            with contextlib.suppress(ModuleNotFoundError):
                importlib.import_module(module.name)
    for name in EXTRAS:
        del sys.modules[name]
    for name in ("structlog", "deepdiff", "jinja2", "rich.progress", "sqlite3", "uuid", "zoneinfo"):
        importlib.import_module(name)
    from botocore.session import Session
    from pydantic import BaseModel

    from reconciler.aws.session import _event_hooks, _model_loader
    from reconciler.sandbox import Sandbox

    _build(BaseModel)
    session = Session(event_hooks=_event_hooks(), include_builtin_handlers=False)
    session.register_component("data_loader", _model_loader())
    for service in ("ivs", "sts"):
        session.create_client(service, "us-west-2", aws_access_key_id="any", aws_secret_access_key="any")
    Sandbox(serve=False).stop()
    assert threading.active_count() == 1, "only the thread that forks is in the child"


def _build(model: type[BaseModel]) -> None:
    """Build the schemas of models, which they put off to their first use."""
    for one in model.__subclasses__():
        if one.__module__.startswith("reconciler."):
            one.model_rebuild()
        _build(one)


class Server:
    """Forks a process for each request to ``listener``, and sends its exit status when it ends."""

    def __init__(self, listener: socket.socket) -> None:
        self._listener = listener
        self._running: dict[int, socket.socket] = {}
        self._selector = selectors.DefaultSelector()
        self._woken, self._waker = socket.socketpair()

    def serve(self) -> tuple[Request, list[int]]:
        """Serve; returns in each of the processes: what it is to be, and its descriptors."""
        for end in (self._woken, self._waker):
            end.setblocking(False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.set_wakeup_fd(self._waker.fileno(), warn_on_full_buffer=False)
        for source in (sys.stdin, self._listener, self._woken):
            self._selector.register(source, selectors.EVENT_READ)
        while True:
            for ready in [key.fileobj for key, _ in self._selector.select()]:
                if ready is sys.stdin:
                    self._end()
                elif ready is self._listener:
                    found = self._accept()
                    if found is not None:
                        return found
                elif ready is self._woken:
                    self._reap()
                else:
                    self._kill(ready)

    def _accept(self) -> tuple[Request, list[int]] | None:
        """Fork for the next request; returns it in the child."""
        connection = self._listener.accept()[0]
        found = _received(connection)
        if found is None:
            connection.close()
            return None
        pid = os.fork()
        if not pid:
            # All is closed here, by its objects: later they would close what has got their numbers.
            signal.set_wakeup_fd(-1)
            self._selector.close()
            for one in (self._listener, self._woken, self._waker, connection, *self._running.values()):
                one.close()
            return found
        for descriptor in found[1]:
            os.close(descriptor)
        _send(connection, pid)
        self._running[pid] = connection
        self._selector.register(connection, selectors.EVENT_READ)
        return None

    def _reap(self) -> None:
        with contextlib.suppress(BlockingIOError):
            self._woken.recv(4096)
        for pid, connection in list(self._running.items()):
            found, status = os.waitpid(pid, os.WNOHANG)
            if found:
                del self._running[pid]
                with contextlib.suppress(KeyError):  # the other side has gone
                    self._selector.unregister(connection)
                _send(connection, os.waitstatus_to_exitcode(status))
                connection.close()

    def _kill(self, ready: object) -> None:
        """Kill the process whose connection was closed by the other side."""
        for pid, connection in self._running.items():
            if connection is ready:
                self._selector.unregister(connection)
                os.kill(pid, signal.SIGKILL)

    def _end(self) -> NoReturn:
        for pid in self._running:
            os.kill(pid, signal.SIGKILL)
        for pid in self._running:
            os.waitpid(pid, 0)
        # Whoever began it may have been killed.
        path = Path(self._listener.getsockname())
        path.unlink()
        path.parent.rmdir()
        os._exit(0)


def _received(connection: socket.socket) -> tuple[Request, list[int]] | None:
    """Return a request, or nothing if it broke off, or needs an interpreter of its own; that is answered."""
    head, descriptors, _, _ = socket.recv_fds(connection, 4, 64)
    content = connection.recv(int.from_bytes(head, "big"), socket.MSG_WAITALL)
    with contextlib.suppress(EOFError, ValueError):
        request: Request = marshal.loads(content)
        if _of_interpreter(request["environment"]) == _of_interpreter(os.environ):
            return request, descriptors
        _send(connection, 0)
    for descriptor in descriptors:
        os.close(descriptor)
    return None


def _of_interpreter(environment: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in environment.items() if name.startswith(INTERPRETER) and name != "PYTHONPATH"}


def _send(connection: socket.socket, number: int) -> None:
    with contextlib.suppress(OSError):
        connection.sendall(number.to_bytes(4, "big", signed=True))


class Start:
    """What this process was before the first request, and becoming what one asks for."""

    def __init__(self) -> None:
        self.home = str(Path.home())
        self.umask = os.umask(0)
        os.umask(self.umask)
        self.generators = [found for found in gc.get_objects() if isinstance(found, random.Random)]

    def become(self, request: Request, descriptors: list[int]) -> None:
        """Make this process what a request says, as if its interpreter had been started so."""
        for number in (signal.SIGCHLD, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, signal.SIG_DFL)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        for ignored in request.get("ignored", ()):
            signal.signal(ignored, signal.SIG_IGN)
        if request.get("session"):
            os.setsid()
        os.umask(request.get("umask", self.umask))
        _place(descriptors, request["numbers"])
        os.chdir(request["directory"])
        os.environ.clear()
        # The program sets the last one when it is imported.
        os.environ.update(request["environment"], PYDANTIC_DISABLE_PLUGINS="__all__")
        sys.path[:1] = [str(Path.cwd()), *filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep))]
        sys.argv[1:] = request["words"]
        _open_streams(request["numbers"])
        for generator in self.generators:
            generator.seed()
        self._move_home()
        exec(request.get("before", ""), {})

    def _move_home(self) -> None:
        """Correct what was made of the home when it was looked up."""
        from botocore import credentials, loaders, tokens, utils

        from reconciler.aws.session import _model_loader

        home = os.path.expanduser("~")  # noqa: PTH111 - as botocore does; Path.home() raises where there is none
        places: tuple[tuple[object, str], ...] = (
            (credentials.SSOProvider, "_SSO_TOKEN_CACHE_DIR"),
            (tokens.SSOTokenProvider, "_SSO_TOKEN_CACHE_DIR"),
            (utils.JSONFileCache, "CACHE_DIR"),
            (loaders.Loader, "CUSTOMER_DATA_PATH"),
            (site, "USER_BASE"),
            (site, "USER_SITE"),
        )
        for owner, name in places:
            if path := getattr(owner, name):
                setattr(owner, name, path.replace(self.home, home))
        paths = _model_loader().search_paths
        paths[:] = [path.replace(self.home, home) for path in paths]


def _place(descriptors: list[int], numbers: list[int]) -> None:
    """Give descriptors their numbers, and close all others."""
    above = max(numbers, default=0) + 1
    moved = [fcntl.fcntl(descriptor, fcntl.F_DUPFD, above) for descriptor in descriptors]
    for descriptor, number in zip(moved, numbers, strict=True):
        os.dup2(descriptor, number)
    for other in [int(path.name) for path in Path("/dev/fd").iterdir()]:
        if other not in numbers:
            with contextlib.suppress(OSError):  # the one by which the folder was read
                os.close(other)


def _open_streams(numbers: list[int]) -> None:
    """Open the standard streams as an interpreter does; a closed one is ``None``."""
    for number, (name, mode) in enumerate((("stdin", "rb"), ("stdout", "wb"), ("stderr", "wb"))):
        stream = None
        if number in numbers:
            # What the locale and PYTHONUNBUFFERED say is the same for all.
            first = getattr(sys, name)
            direct = first.write_through
            binary = os.fdopen(number, mode, 0 if direct and mode == "wb" else -1, closefd=False)
            lines = not direct and (binary.isatty() or name == "stderr")
            stream = io.TextIOWrapper(binary, first.encoding, first.errors, "\n", lines, direct)
        setattr(sys, name, stream)
        setattr(sys, f"__{name}__", stream)


def main() -> str:
    """Serve; returns in each of the processes, which has become what was asked for: the module that it is to run."""
    preload()
    start = Start()
    # Memory is shared with a process as long as neither writes to it.
    gc.collect()
    gc.freeze()
    os.write(sys.stdout.fileno(), b"\n")
    request, descriptors = Server(socket.socket(fileno=int(sys.argv.pop()))).serve()
    start.become(request, descriptors)
    return request["module"]


if __name__ == "__main__":
    runpy.run_module(main(), run_name="__main__", alter_sys=True)
