"""The command line, in this process or in one of its own, and small stacks to run it on."""

from __future__ import annotations

import contextlib
import gc
import io
import json
import os
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from http.server import ThreadingHTTPServer
from pathlib import Path
from typing import Any

import boto3
import yaml

from reconciler import logs
from reconciler.cli.main import main
from reconciler.sandbox import Sandbox
from tests.preloaded import Process
from tests.preloaded.server import INTERPRETER

ACCOUNT = "123456789012"
REGION = "us-west-2"
BUCKET = "acme-ops"
"""The bucket of the fixture ``s3``."""


@dataclass(frozen=True)
class Ran:
    """What a process printed and how it ended."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """The report on stdout, read as JSON."""
        return json.loads(self.out)


def run(folder: Path, *words: str, env: Mapping[str, str] | None = None, stdin: str = "") -> Ran:
    """Run ``ivs-reconciler`` in a folder, in this process: a tenth of the time of a process of its own.

    A process runs it where this one cannot: with settings of the interpreter, from another thread, and in ``make test PROCESSES=1``.
    """
    in_a_thread = threading.current_thread() is not threading.main_thread()
    if in_a_thread or "PROCESSES" in os.environ or any(name.startswith(INTERPRETER) for name in env or ()):
        return process(folder, *words, env=env, stdin=stdin)
    with (
        _stream(stdin) as source,
        _stream() as out,
        _stream() as err,
        contextlib.chdir(folder),
        _environment(env or {}),
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
    ):
        before, sys.stdin = sys.stdin, source
        thresholds = gc.get_threshold()
        try:
            code = main(words)
        except SystemExit as stop:
            code = int(stop.code or 0)
        finally:
            sys.stdin = before
            gc.set_threshold(*thresholds)
            logs.configure()
        return _ran(code, _written(out), _written(err))


def process(folder: Path, *words: str, env: Mapping[str, str] | None = None, stdin: str = "") -> Ran:
    """Run ``ivs-reconciler`` in a folder as a process, for what only a process shows: signals, limits, exit."""
    pipes: dict[str, Any] = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
    with Process(words, cwd=folder, env={**os.environ, **(env or {})}, text=True, **pipes) as running:
        out, err = running.communicate(stdin, timeout=120)
    return _ran(running.returncode, out, err)


def _ran(code: int, out: str, err: str) -> Ran:
    assert "Traceback" not in out + err, err
    return Ran(code, out, err)


def _stream(content: str = "") -> io.TextIOWrapper:
    """Return a stream of its own descriptor, as pipes of a process have."""
    stream = io.TextIOWrapper(tempfile.TemporaryFile(), encoding="utf-8", errors="backslashreplace")  # noqa: SIM115 - run closes it
    stream.write(content)
    stream.seek(0)
    return stream


def _written(stream: io.TextIOWrapper) -> str:
    stream.flush()
    stream.seek(0)
    return stream.read()


@contextlib.contextmanager
def _environment(changed: Mapping[str, str]) -> Iterator[None]:
    before = dict(os.environ)
    os.environ.update(changed)
    try:
        yield
    finally:
        for name in os.environ.keys() - before.keys():
            del os.environ[name]
        os.environ.update(before)


def stack(
    folder: Path, spec: Mapping[str, object], *, target: Mapping[str, object] | None = None, **project: object
) -> Path:
    """Write a project with one sandbox target and one spec file; returns its folder."""
    content: dict[str, object] = {
        "stack": "acme-live",
        "targets": {"dev": {"region": REGION, "accountId": ACCOUNT, "sandbox": ".sandbox/dev.db", **(target or {})}},
        **project,
    }
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "ivs-reconciler.yaml").write_text(yaml.safe_dump(content, sort_keys=False), encoding="utf-8")
    rewrite(folder, spec)
    return folder


def rewrite(folder: Path, spec: Mapping[str, object], name: str = "live.yaml") -> None:
    """Write a spec file."""
    specs = folder / "specs"
    specs.mkdir(exist_ok=True)
    (specs / name).write_text(yaml.safe_dump(dict(spec), sort_keys=False), encoding="utf-8")


@contextlib.contextmanager
def outside(folder: Path, db: str = ".sandbox/dev.db") -> Iterator[tuple[Any, Sandbox]]:
    """Give a boto3 client and the server of a stack's sandbox target, for changes made outside."""
    with Sandbox(db=folder / db) as sandbox:
        yield client(sandbox.endpoint_url), sandbox


def client(endpoint_url: str, service: str = "ivs", account: str = ACCOUNT, region: str = REGION) -> Any:
    """Return a boto3 client that talks to an embedded server."""
    return boto3.client(
        service, endpoint_url=endpoint_url, region_name=region, aws_access_key_id=account, aws_secret_access_key="any"
    )


def arn_of(ivs: Any, name: str) -> str:
    """Return the ARN of the one channel with this name."""
    (found,) = ivs.list_channels(filterByName=name)["channels"]
    return str(found["arn"])


class QuietServer(ThreadingHTTPServer):
    """A server of a test that writes nothing about connections that end early: what is on stderr comes from the command."""

    def handle_error(self, *_: object) -> None:
        return
