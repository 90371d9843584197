"""The command line as a process, and small stacks to run it on."""

from __future__ import annotations

import contextlib
import io
import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import boto3
import yaml

from reconciler.cli.main import main
from reconciler.sandbox import Sandbox

ACCOUNT = "123456789012"
REGION = "us-west-2"


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
    """Run ``ivs-reconciler`` in a folder, with nothing on its input."""
    done = subprocess.run(
        [sys.executable, "-m", "reconciler", *words],
        cwd=folder,
        env={**os.environ, **(env or {})},
        input=stdin,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert "Traceback" not in done.stdout + done.stderr, done.stderr
    return Ran(done.returncode, done.stdout, done.stderr)


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


def here(folder: Path, *words: str) -> Ran:
    """Run ``ivs-reconciler`` in this process, as if started in a folder: a tenth of the time of a process of its own."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.chdir(folder), contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            code = main(words)
        except SystemExit as stop:
            code = int(stop.code or 0)
    return Ran(code, out.getvalue(), err.getvalue())
