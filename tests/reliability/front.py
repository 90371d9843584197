"""One address for IVS, Secrets Manager and Parameter Store, which kills the process that calls: at a call of its choosing, before the work or after it.

The process is killed while it waits for the answer, so that what it did and what it wrote down before is exactly known.
"""

from __future__ import annotations

import contextlib
import io
import os
import random
import re
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from reconciler.cli.main import main
from reconciler.sandbox import Sandbox
from reconciler.sandbox.http.server import SandboxHTTPServer, serve
from reconciler.sandbox.wire import Disruption, Request, Response
from tests.aws.stores import Stores, is_for_a_store
from tests.cli.support import ACCOUNT, Ran, client
from tests.preloaded import Process
from tests.reliability.interleave import others_work

_SECRET = re.compile(rb"sk_[a-z0-9-]+_[A-Za-z0-9_]+|\"passphrase\": ?\"([^\"]+)\"")
_LOOKS = ("List", "Get", "BatchGet")


@dataclass(slots=True)
class Trap:
    """Kills at the ``nth`` call that counts (from 0). ``hit`` says at which one, once it has."""

    nth: int
    after: bool
    pid: int = 0
    armed: threading.Event = field(default_factory=threading.Event)
    seen: list[str] = field(default_factory=list)
    hit: str = ""


class Front:
    """The server, and the command line that is run against it. ``values`` are all secrets that it ever gave out."""

    def __init__(self, sandbox: Sandbox, stores: Stores) -> None:
        self.sandbox = sandbox
        self.stores = stores
        self.values: set[str] = set()
        self.said: list[str] = []
        self._trap: Trap | None = None
        self._busy = 0
        self._lock = threading.Lock()
        self._server = SandboxHTTPServer(("127.0.0.1", 0), self._answer)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        self._thread = serve(self._server)
        self.ivs: Any = client(self.url)

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._server.drain(5)
        self._thread.join()

    @property
    def environment(self) -> dict[str, str]:
        stores = {f"AWS_ENDPOINT_URL_{service}": self.url for service in ("SECRETS_MANAGER", "SSM")}
        return {"AWS_ACCESS_KEY_ID": ACCOUNT, "AWS_SECRET_ACCESS_KEY": "any", **stores}

    def run(self, folder: Path, *words: str) -> Ran:
        """Run the command line in this process, to its end."""
        out, err = io.StringIO(), io.StringIO()
        before = {name: os.environ.get(name) for name in self.environment}
        os.environ.update(self.environment)
        try:
            with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
                code = main(["-C", str(folder), *words])
        finally:
            for name, value in before.items():
                if value is None:
                    os.environ.pop(name)
                else:
                    os.environ[name] = value
        self.said += [out.getvalue(), err.getvalue()]
        return Ran(code, out.getvalue(), err.getvalue())

    def killed_at(self, nth: int, folder: Path, *words: str, after: bool = True) -> str:
        """Run a process and kill it at a call; return which, or nothing when it came to its end first."""
        trap = Trap(nth, after)
        with self._trapped(trap), self._process(folder, *words) as process:
            trap.pid = process.pid
            trap.armed.set()
            code = self._ended(process)
        self.quiet()
        assert (code == -signal.SIGKILL) == bool(trap.hit), (code, trap, self.said[-2:])
        return trap.hit

    def killed_within(self, calls: int, rng: random.Random, folder: Path, *words: str) -> bool:
        """Run a process and kill it a random moment after so many calls; whether it was killed before its end."""
        trap = Trap(10_000, after=True)
        with self._trapped(trap), self._process(folder, *words) as process:
            trap.armed.set()
            while process.poll() is None and len(trap.seen) < calls:
                time.sleep(0.001)
            time.sleep(rng.random() * 0.02)
            process.kill()
            code = self._ended(process)
        self.quiet()
        return code == -signal.SIGKILL

    @contextmanager
    def _trapped(self, trap: Trap) -> Iterator[None]:
        self._trap = trap
        try:
            yield
        finally:
            self._trap = None

    def _process(self, folder: Path, *words: str) -> subprocess.Popen[str]:
        return Process(
            ["-vv", *words],
            cwd=folder,
            env={**os.environ, **self.environment},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def _ended(self, process: subprocess.Popen[str]) -> int:
        out, err = process.communicate(timeout=120)
        self.said += [out, err]
        assert "Traceback" not in out + err, err
        return process.returncode

    def quiet(self) -> None:
        """Return when no call of a process that was killed is still being worked on."""
        found: object = None
        # A call that has come but is not counted yet has woken a thread.
        while self._busy or found != (found := self.sandbox.control.inventory(limit=1000)) or others_work():
            time.sleep(0.01)

    def _answer(self, request: Request, source_ip: str) -> Response:
        with self._lock:
            self._busy += 1
        try:
            return self._answered(request, source_ip)
        finally:
            with self._lock:
                self._busy -= 1

    def _answered(self, request: Request, source_ip: str) -> Response:
        store = is_for_a_store(request)
        name = _operation(request)
        trap = self._trap if store or not name.startswith(_LOOKS) or name == "GetStreamKey" else None
        chosen = trap is not None and self._chosen(trap, name)
        if chosen and trap is not None and not trap.after:
            return _kill(trap)
        answer = self.stores.handle(request) if store else self.sandbox.handle(request, source_ip)
        self.values.update(
            found[1].decode() if found[1] else found[0].decode() for found in _SECRET.finditer(answer.body)
        )
        if chosen and trap is not None:
            return _kill(trap)
        return answer

    def _chosen(self, trap: Trap, name: str) -> bool:
        """Count a call; whether it is the one. Calls that come beside it find the process dead."""
        trap.armed.wait(60)
        with self._lock:
            trap.seen.append(name)
            if len(trap.seen) - 1 != trap.nth:
                return False
            trap.hit = name
            return True


def _kill(trap: Trap) -> Response:
    os.kill(trap.pid, signal.SIGKILL)
    return Response(500, disruption=Disruption.RESET)


def _operation(request: Request) -> str:
    """Return the operation that a request is for; a request for no operation is a look."""
    if target := request.headers.get("x-amz-target"):
        return target.rpartition(".")[2]
    if request.path.startswith("/tags/"):
        return {"POST": "TagResource", "DELETE": "UntagResource"}.get(request.method, "ListTagsForResource")
    return request.path.strip("/") or "GetCallerIdentity"


@contextmanager
def fronted(**options: Any) -> Iterator[Front]:
    """Serve an account and its stores."""
    with Sandbox(serve=False, **options) as sandbox:
        front = Front(sandbox, Stores())
        try:
            yield front
        finally:
            front.close()
