"""The state in a file: formats, several processes, `kill -9` at any moment."""

from __future__ import annotations

import http.client
import json
import os
import signal
import sqlite3
import stat
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import pytest

from reconciler.sandbox import Sandbox, StoreError
from reconciler.sandbox.http.control import RemoteControl
from reconciler.sandbox.state.store import FORMAT, Store
from reconciler.sandbox.wire import Request

ROOT = Path(__file__).parents[2]


def serve(*arguments: str) -> tuple[subprocess.Popen[str], str]:
    """A server in another process, ready to be called."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    process = subprocess.Popen(
        [sys.executable, "-m", "reconciler.cli.sandbox", "sandbox", "serve", "--port", "0", *arguments],
        stdout=subprocess.PIPE,
        text=True,
        env=environment,
    )
    assert process.stdout is not None
    endpoint = process.stdout.readline().split(" on ")[1].split(" ")[0]
    return process, endpoint


def post(endpoint: str, operation: str, body: dict[str, Any]) -> dict[str, Any]:
    request = urllib.request.Request(f"{endpoint}/{operation}", json.dumps(body).encode())
    with urllib.request.urlopen(request, timeout=60) as answer:
        found: dict[str, Any] = json.loads(answer.read() or b"{}")
        return found


def test_a_file_of_a_newer_format_is_refused_clearly(tmp_path: Path) -> None:
    file = tmp_path / "state.db"
    Store(file).close()
    connection = sqlite3.connect(file)
    connection.execute(f"PRAGMA user_version = {FORMAT + 1}")
    connection.close()
    with pytest.raises(StoreError, match=rf"written by a newer sandbox \(format {FORMAT + 1}"):
        Sandbox(file)


def test_what_is_not_a_sandbox_database_is_refused_and_left_alone(tmp_path: Path) -> None:
    text, other = tmp_path / "notes.txt", tmp_path / "other.db"
    text.write_text("some notes, surely more than a header's worth of them" * 20)
    before = text.read_bytes()
    with pytest.raises(StoreError, match="not usable as a sandbox database"):
        Sandbox(text)
    assert text.read_bytes() == before
    connection = sqlite3.connect(other)
    connection.execute("CREATE TABLE theirs (x)")
    connection.commit()
    connection.close()
    before = other.read_bytes()
    with pytest.raises(StoreError, match="not a database of the sandbox"):
        Sandbox(other)
    assert other.read_bytes() == before
    assert sorted(each.name for each in tmp_path.iterdir()) == ["notes.txt", "other.db"]
    with pytest.raises(StoreError, match="cannot be opened"):
        Sandbox(tmp_path)


def test_the_file_is_for_its_owner_only(tmp_path: Path) -> None:
    file = tmp_path / "state.db"
    with Sandbox(file):
        assert stat.S_IMODE(file.stat().st_mode) == 0o600


def test_a_failed_transaction_leaves_nothing(tmp_path: Path) -> None:
    store = Store(tmp_path / "state.db")

    def fail() -> None:
        with store.transaction(write=True) as connection:
            connection.execute("INSERT INTO settings VALUES ('a', 'b')")
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    with store.transaction(write=False) as connection:
        assert connection.execute("SELECT count(*) FROM settings").fetchone() == (0,)
    store.close()


def test_a_full_disk_is_reported_loses_no_answered_write_and_does_not_stop_the_server(tmp_path: Path) -> None:
    file = tmp_path / "state.db"
    code = (
        "import resource, signal, sys; from reconciler.cli.sandbox import main;"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN); resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, 300_000));"
        f"sys.exit(main(['sandbox', 'serve', '--port', '0', '--db', {str(file)!r}]))"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    assert process.stdout is not None
    assert process.stderr is not None
    endpoint = process.stdout.readline().split(" on ")[1].split(" ")[0]
    answered: list[str] = []
    texts: list[str] = []
    while not texts:
        try:
            answered.append(post(endpoint, "CreateChannel", {"name": "x" * 100})["channel"]["arn"])
        except urllib.error.HTTPError as error:
            texts.append(json.loads(error.read())["message"])
    assert "The sandbox cannot use its database (" in texts[0]
    assert len(post(endpoint, "ListChannels", {})["channels"]) == len(answered)
    process.terminate()
    _, log = process.communicate(timeout=60)
    assert process.returncode == 0
    assert "database error" in log
    assert "Traceback" not in log
    store = Store(file)
    with store.transaction(write=False) as connection:
        assert {arn for (arn,) in connection.execute("SELECT arn FROM resources WHERE kind = 'channel'")} == set(
            answered
        )
    store.close()


def test_a_state_that_cannot_be_used_is_an_answer_on_every_path_and_never_an_exception() -> None:
    sandbox = Sandbox(serve=False)
    sandbox.stop()
    for request in (
        Request("POST", "/CreateChannel"),
        Request("GET", "/"),
        Request("POST", "/_sandbox/reset", "", {"content-type": "application/json"}),
    ):
        answer = sandbox.handle(request)
        assert answer.status == 500
        assert b"closed database" in answer.body


def test_two_processes_on_one_file_lose_nothing(tmp_path: Path) -> None:
    file = str(tmp_path / "state.db")
    servers = [serve("--db", file) for _ in range(2)]
    try:

        def fill(endpoint: str) -> None:
            for number in range(60):
                post(endpoint, "CreateChannel", {"name": f"c{number}"})

        threads = [threading.Thread(target=fill, args=(endpoint,)) for _, endpoint in servers for _ in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        for _, endpoint in servers:
            token, seen = "", 0
            while True:
                page = post(endpoint, "ListChannels", {"nextToken": token})
                seen, token = seen + len(page["channels"]), page.get("nextToken", "")
                if not token:
                    break
            assert seen == 240
    finally:
        for process, _ in servers:
            process.terminate()
            process.wait(60)
            if process.stdout:
                process.stdout.close()


def test_opening_a_file_again_loses_no_write_of_another_process(tmp_path: Path) -> None:
    """A process that closes any descriptor of a file loses its locks on it, and the last one to close a database deletes its log."""
    file = tmp_path / "state.db"
    with Sandbox(file) as sandbox:
        Sandbox(file, serve=False).stop()
        process, endpoint = serve("--db", str(file))
        post(endpoint, "CreateChannel", {"name": "one"})
        process.terminate()
        assert process.wait(60) == 0
        assert process.stdout is not None
        process.stdout.close()
        post(sandbox.endpoint_url, "CreateChannel", {"name": "two"})
        process, endpoint = serve("--db", str(file))
        try:
            assert {found["name"] for found in post(endpoint, "ListChannels", {})["channels"]} == {"one", "two"}
        finally:
            process.terminate()
            assert process.wait(60) == 0
            assert process.stdout is not None
            process.stdout.close()


def test_every_answered_write_survives_kill_9(tmp_path: Path) -> None:
    file = str(tmp_path / "state.db")
    answered: list[str] = []
    for round_ in range(4):
        process, endpoint = serve("--db", file)
        stop = threading.Event()

        def fill(endpoint: str = endpoint, stop: threading.Event = stop) -> None:
            while not stop.is_set():
                try:
                    answered.append(post(endpoint, "CreateChannel", {})["channel"]["arn"])
                except (OSError, ValueError, http.client.HTTPException):
                    return

        threads = [threading.Thread(target=fill) for _ in range(3)]
        for thread in threads:
            thread.start()
        while len(answered) < 20 * (round_ + 1):
            time.sleep(0.01)
        time.sleep(0.07 * round_)
        process.send_signal(signal.SIGKILL)
        stop.set()
        process.wait(60)
        for thread in threads:
            thread.join()
        if process.stdout:
            process.stdout.close()
    store = Store(file)
    with store.transaction(write=False) as connection:
        kept = {arn for (arn,) in connection.execute("SELECT arn FROM resources")}
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    store.close()
    assert set(answered) <= kept


def test_sigterm_lets_a_call_in_flight_finish(tmp_path: Path) -> None:
    process, endpoint = serve("--db", str(tmp_path / "state.db"))
    control = urllib.request.Request(
        f"{endpoint}/_sandbox/add_fault",
        b'{"effect": "delay", "seconds": 1, "operation": "CreateChannel"}',
        {"Content-Type": "application/json"},
    )
    urllib.request.urlopen(control, timeout=60).close()
    found: list[dict[str, Any]] = []
    thread = threading.Thread(target=lambda: found.append(post(endpoint, "CreateChannel", {"name": "slow"})))
    thread.start()
    while not RemoteControl(endpoint).call("faults")[0]["hit"]:
        time.sleep(0.02)
    process.send_signal(signal.SIGTERM)
    thread.join(60)
    assert process.wait(60) == 0
    assert process.stdout is not None
    assert process.stdout.read().endswith("stopped\n")
    process.stdout.close()
    assert found[0]["channel"]["name"] == "slow"
