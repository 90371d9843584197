"""Ctrl-C and SIGTERM: a run that only looks ends at once, holds nothing any more, and its exit code says which it was."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO

import pytest

from reconciler.cli.main import build_parser
from reconciler.errors import ExitCode
from reconciler.sandbox import Sandbox
from tests.cli.support import ACCOUNT, REGION, run, stack
from tests.preloaded import Process

CHANNELS = 150
KEYS = {"AWS_ACCESS_KEY_ID": ACCOUNT, "AWS_SECRET_ACCESS_KEY": "any"}
SIGNALS = [(signal.SIGINT, 130), (signal.SIGTERM, 143)]


@pytest.fixture
def sandbox() -> Iterator[Sandbox]:
    with Sandbox() as sandbox:
        yield sandbox


def project(folder: Path, sandbox: Sandbox, rates: str, channels: int = CHANNELS) -> Path:
    target = {
        "endpointUrl": sandbox.endpoint_url,
        "rateLimits": rates,
        "lock": {"file": "dev.lock"},
        "region": REGION,
        "accountId": ACCOUNT,
    }
    return stack(
        folder,
        {"channels": {f"c{number:03}": {"streamKey": {}} for number in range(channels)}},
        targets={"dev": target},
    )


@pytest.fixture(scope="module")
def applied(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, Sandbox]]:
    """A project whose channels exist, at the published call rates from now on. What is interrupted while it reads changes none."""
    folder = tmp_path_factory.mktemp("applied") / "repo"
    with Sandbox() as sandbox:
        project(folder, sandbox, "off")
        assert run(folder, "apply", "--auto-approve", env=KEYS).code == 0
        project(folder, sandbox, "aws")
        yield folder, sandbox


def started(
    folder: Path, *words: str, out: IO[str] | int = subprocess.PIPE, fresh: bool = False
) -> subprocess.Popen[str]:
    env = {**os.environ, **KEYS}
    return Process(words, fresh=fresh, cwd=folder, env=env, stdout=out, stderr=subprocess.PIPE, text=True)


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


@pytest.mark.parametrize(("number", "code"), SIGNALS)
@pytest.mark.parametrize("verb", [("plan",), ("drift",), ("apply", "--auto-approve")])
def test_an_interrupted_read_ends_at_once(
    applied: tuple[Path, Sandbox], verb: tuple[str, ...], number: int, code: int
) -> None:
    folder, sandbox = applied
    sandbox.control.clear_calls()

    def looked() -> int:
        return len(sandbox.control.calls(operation="ListStreamKeys", limit=CHANNELS))

    with started(folder, *verb, fresh=verb == ("plan",)) as process:
        until(lambda: looked() > 2)
        process.send_signal(number)
        out, err = process.communicate(timeout=60)
    assert (process.returncode, out) == (code, "")
    assert err.endswith("Interrupted.\n")
    assert looked() < CHANNELS, "at the published rate the rest would have taken half a minute"
    if verb[0] == "apply":
        assert json.loads((folder / "dev.lock").read_text(encoding="utf-8"))["released"] is True


@pytest.mark.parametrize(("number", "code"), SIGNALS)
def test_an_apply_that_is_stopped_twice_says_what_is_not_known(
    tmp_path: Path, sandbox: Sandbox, number: int, code: int
) -> None:
    folder = project(tmp_path / "repo", sandbox, "off", channels=1)
    sandbox.control.add_fault("hang", operation="CreateChannel", seconds=60)
    with (
        (tmp_path / "events").open("w", encoding="utf-8") as file,
        started(folder, "apply", "--auto-approve", "--format", "json", out=file) as process,
    ):
        until(lambda: "step_started" in (tmp_path / "events").read_text(encoding="utf-8"))
        process.send_signal(number)
        assert process.stderr is not None
        assert any(line.startswith("Interrupted: waiting ") for line in process.stderr)
        process.send_signal(number)
        err = process.stderr.read()
        assert process.wait(60) == code
    assert err == "Interrupted. In-flight calls may have been carried out; run plan to see what is left.\n"
    last = json.loads((tmp_path / "events").read_text(encoding="utf-8").splitlines()[-1])
    assert last == {"type": "error", "code": "stopped", "message": err.strip(), "exitCode": code}
    assert json.loads((folder / "dev.lock").read_text(encoding="utf-8"))["released"] is True
    sandbox.control.clear_faults()
    assert "did not finish" in run(folder, "plan", env=KEYS).err


# Runs the command; when it imports the module of the first argument, a line is written, and the signal may be raised.
# What an interpreter imports before the program begins cannot be covered.
AT_IMPORT = """
import os, runpy, signal, sys, weakref
class Held: pass
class Named:
    def __set_name__(self, owner, name): signal.raise_signal(number)
def imported(event, arguments):
    if event == "import" and arguments[0] == module:
        sys.stdout.flush(); os.write(1, b"imported\\n")
        if how == "at once":
            signal.raise_signal(number)
        elif how == "in a callback":
            held = Held()
            reference = weakref.ref(held, lambda _: signal.raise_signal(number))
            del held
        elif how == "in a class":
            type("Made", (), {"name": Named()})
        elif how == "turned into an error":
            try:
                signal.raise_signal(number)
            except KeyboardInterrupt as error:
                raise ValueError(str(error)) from None
module, how, number, *words = sys.argv[1:]
number = int(number)
sys.argv[1:] = words
signal.signal(signal.SIGINT, signal.default_int_handler)
sys.addaudithook(imported)
runpy.run_module("reconciler", run_name="__main__", alter_sys=True)
"""


def starting(folder: Path, module: str, how: str, number: int, *words: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", AT_IMPORT, module, how, str(int(number)), *words]
    env = {**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parents[2])}
    process = subprocess.Popen(command, cwd=folder, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "imported\n"
    return process


@pytest.mark.parametrize(("number", "code"), SIGNALS)
@pytest.mark.parametrize("how", ["at once", "in a callback", "in a class"])
@pytest.mark.parametrize(
    "module", ["argparse", "reconciler.cli.options", "reconciler.cli.unlock", "reconciler.spec.project", "yaml"]
)
def test_a_signal_while_modules_are_imported_ends_the_command_with_one_line(
    tmp_path: Path, module: str, how: str, number: int, code: int
) -> None:
    with starting(tmp_path, module, how, number, "validate") as process:
        assert (*process.communicate(timeout=60), process.returncode) == ("", "Interrupted.\n", code)


@pytest.mark.parametrize(("number", "code"), SIGNALS)
def test_a_signal_that_a_package_turns_into_an_error_of_its_own_ends_the_command_with_one_line(
    tmp_path: Path, number: int, code: int
) -> None:
    with starting(tmp_path, "yaml", "turned into an error", number, "validate") as process:
        assert (*process.communicate(timeout=60), process.returncode) == ("", "Interrupted.\n", code)


@pytest.mark.parametrize(("number", "code", "step"), [(signal.SIGINT, 130, 5), (signal.SIGTERM, 143, 25)])
def test_a_signal_at_any_moment_of_the_start_ends_the_command_with_one_line(
    tmp_path: Path, number: int, code: int, step: int
) -> None:
    folder = stack(tmp_path / "repo", {"channels": {"main": {}}})
    interrupted = 0
    for milliseconds in range(0, 200, step):
        with starting(folder, "reconciler.cli.main", "", number, "validate") as process:
            time.sleep(milliseconds / 1000)
            process.send_signal(number)
            err = process.communicate(timeout=60)[1]
        assert (process.returncode, err) in ((code, "Interrupted.\n"), (0, "")), f"after {milliseconds} ms"
        interrupted += process.returncode == code
    assert interrupted


def test_the_help_names_every_exit_code() -> None:
    table = build_parser().format_help().partition("exit codes:")[2]
    for code in ExitCode:
        assert re.search(rf"\b{int(code)}\b", table)
