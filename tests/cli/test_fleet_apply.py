"""An apply of several targets at once: each target's block whole and in the project's order, and none is lost when one fails or all are stopped."""

from __future__ import annotations

import io
import json
import os
import re
import signal
import subprocess
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml

from reconciler.apply.events import read_events
from reconciler.sandbox import Sandbox
from reconciler.workflow.progress import Meter
from tests.cli.at_terminal import at_terminal
from tests.cli.support import REGION, Ran, client, run
from tests.preloaded import Process

CHANNELS = 9
NAMES = [f"t{number:02}" for number in range(31)]


@pytest.fixture(scope="module")
def server() -> Iterator[Sandbox]:
    with Sandbox() as sandbox:
        yield sandbox


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory, server: Sandbox) -> Path:
    """A project of 31 accounts on one server, of which each test uses its own."""
    folder = tmp_path_factory.mktemp("fleet")
    targets = {
        name: {
            "region": REGION,
            "accountId": account_of(name),
            "profile": name,
            "endpointUrl": server.endpoint_url,
            "rateLimits": "off",
        }
        for name in NAMES
    }
    (folder / "ivs-reconciler.yaml").write_text(
        yaml.safe_dump({"stack": "acme", "targets": targets}, sort_keys=False), "utf-8"
    )
    (folder / "specs").mkdir()
    (folder / "specs" / "live.yaml").write_text(f"channels: {{c: {{forEach: {{count: {CHANNELS}}}}}}}\n", "utf-8")
    keys = (f"[{name}]\naws_access_key_id={account_of(name)}\naws_secret_access_key=any\n" for name in NAMES)
    (folder / "credentials").write_text("".join(keys), "utf-8")
    return folder


@pytest.fixture(autouse=True)
def calm(server: Sandbox) -> None:
    server.control.clear_faults()
    server.control.clear_calls()


def account_of(name: str) -> str:
    return f"{300_000_000_000 + int(name[1:])}"


def keys_of(folder: Path) -> dict[str, str]:
    return {"AWS_SHARED_CREDENTIALS_FILE": str(folder / "credentials"), "AWS_CONFIG_FILE": os.devnull}


def on(names: Sequence[str]) -> list[str]:
    return [word for name in names for word in ("-t", name)]


def applied(folder: Path, names: Sequence[str], *words: str) -> Ran:
    return run(folder, "apply", "--auto-approve", *on(names), *words, env=keys_of(folder))


def in_sync(folder: Path, names: Sequence[str]) -> bool:
    return run(folder, "plan", "--detailed-exitcode", *on(names), env=keys_of(folder)).code == 0


def channels_of(server: Sandbox, name: str) -> list[str]:
    listed = client(server.endpoint_url, account=account_of(name)).list_channels(maxResults=100)["channels"]
    return sorted(one["name"] for one in listed)


def created(server: Sandbox, name: str) -> Sequence[Mapping[str, Any]]:
    return server.control.calls(operation="CreateChannel", account=account_of(name))


def succeeded(calls: Sequence[Mapping[str, Any]]) -> int:
    return sum(call["status"] == 200 for call in calls)


def journal_of(folder: Path, name: str) -> list[dict[str, Any]]:
    text = (folder / ".ivs-reconciler" / f"journal-{name}.jsonl").read_text("utf-8")
    return [json.loads(line) for line in text.splitlines()]


def recorded(folder: Path, name: str) -> list[str]:
    found: list[str] = json.loads((folder / ".ivs-reconciler" / f"applied-{name}.json").read_text("utf-8"))["addresses"]
    return found


def blocks(text: str) -> dict[str, list[str]]:
    """Return the lines of each target's block, in the order of the text."""
    found: dict[str, list[str]] = {}
    for part in text.split("\nApplying to ")[1:]:
        name, *lines = part.splitlines()
        assert name not in found
        found[name] = [line for line in lines if line]
    return found


def test_blocks_are_whole_and_in_order_though_targets_are_worked_on_at_once(fleet: Path, server: Sandbox) -> None:
    names = NAMES[:4]
    # The first one ends last, and one in the middle fails.
    server.control.add_fault("delay", operation="CreateChannel", account=account_of(names[0]), seconds=0.3, times=None)
    server.control.deny("CreateChannel", account=account_of(names[1]))
    ran = applied(fleet, names)
    assert ran.code == 4, ran.err
    head, table = ran.out.split("\n4 targets: 3 applied, 1 failed.\n")
    found = blocks(head)
    assert list(found) == names
    for name, lines in found.items():
        failed = name == names[1]
        actions = [line for line in lines if re.match(r"  (done|failed)  create channel/c-\d", line)]
        # The report of a target repeats what failed.
        assert len(actions) == CHANNELS * (2 if failed else 1), lines
        ends = [line for line in lines if line.startswith("Apply ")]
        assert [line.partition(" (")[0] for line in ends] == [
            f"Apply partially failed for {name}: 0 done, {CHANNELS} failed"
            if failed
            else f"Apply complete for {name}: {CHANNELS} done"
        ]
        assert lines.index(ends[0]) > lines.index(actions[-1])
    assert [line.split()[0] for line in table.splitlines() if line] == names
    assert re.search(rf"{names[1]} .* failed +0 done, {CHANNELS} failed$", table, re.MULTILINE)

    first, last = created(server, names[0]), created(server, names[3])
    assert min(one["seq"] for one in last) < max(one["seq"] for one in first), "at once, not one after the other"
    for name in names:
        assert [line["event"] for line in journal_of(fleet, name)].count("end") == 1
        assert len(recorded(fleet, name)) == (0 if name == names[1] else CHANNELS)

    server.control.clear_faults()
    again = applied(fleet, names, "--targets-at-once", "1")
    assert again.code == 0
    assert list(blocks(again.out)) == [names[1]]
    assert "4 targets: 1 applied, 3 in sync.\n" in again.out
    assert in_sync(fleet, names)
    assert all(len(channels_of(server, name)) == CHANNELS for name in names)


@pytest.mark.parametrize("executor", ["threads", "processes"])
def test_a_target_that_cannot_be_read_stops_no_other(fleet: Path, server: Sandbox, executor: str) -> None:
    names = NAMES[24:26] if executor == "threads" else NAMES[26:28]
    missed, other = names
    server.control.deny("ListChannels", account=account_of(missed))
    if executor == "threads":
        assert run(fleet, "plan", *on(names), "--out", "saved.json", env=keys_of(fleet)).code == 1
    ran = applied(fleet, names, "--executor", executor)
    assert ran.code == 4, ran.err
    assert f"error: {missed}: " in ran.err
    assert "1 target could not be read and will not be changed." in ran.err
    assert list(blocks(ran.out)) == [other]
    assert len(channels_of(server, other)) == CHANNELS
    assert created(server, missed) == []

    nothing_left = applied(fleet, names, "--executor", executor)
    assert nothing_left.code == 1
    assert nothing_left.err.count(f"{missed}: ") == 1

    server.control.clear_faults()
    saved = run(fleet, "plan", *on(names), "--out", "saved.json", env=keys_of(fleet))
    assert saved.code == 0, saved.err
    server.control.deny("ListChannels", account=account_of(other))
    ran = run(fleet, "apply", "saved.json", "--auto-approve", "--executor", executor, env=keys_of(fleet))
    assert ran.code == 4, ran.err
    assert list(blocks(ran.out)) == [missed]
    assert len(channels_of(server, missed)) == CHANNELS
    server.control.clear_faults()
    assert in_sync(fleet, names)


def test_workers_read_a_target_with_nothing_to_do_once(fleet: Path, server: Sandbox) -> None:
    names = NAMES[28:31]
    elsewhere = ("--executor", "processes:2")
    assert applied(fleet, names, *elsewhere).code == 0

    def readings(*words: str) -> list[int]:
        server.control.clear_calls()
        ran = applied(fleet, names, *elsewhere, *words)
        assert ran.code == 0, ran.err
        return [len(server.control.calls(operation="GetCallerIdentity", account=account_of(name))) for name in names]

    for name in names:
        (fleet / ".ivs-reconciler" / f"applied-{name}.json").unlink()
    assert readings() == [1, 1, 1]
    assert [len(recorded(fleet, name)) for name in names] == [CHANNELS] * 3
    assert readings("--format", "json") == [2, 2, 2], "workers read the outputs"
    # One that has something to do is planned again by the worker that does it.
    ivs = client(server.endpoint_url, account=account_of(names[1]))
    ivs.delete_channel(arn=ivs.list_channels()["channels"][0]["arn"])
    assert readings() == [1, 2, 1]
    assert in_sync(fleet, names)


def test_json_lines_name_their_target_and_results_come_last_in_order(fleet: Path, server: Sandbox) -> None:
    names = NAMES[4:7]
    server.control.add_fault("delay", operation="CreateChannel", account=account_of(names[0]), seconds=0.2, times=None)
    server.control.deny("CreateChannel", account=account_of(names[1]))
    saved = str(fleet / "some.plan.json")
    assert run(fleet, "plan", "--out", saved, *on(names), env=keys_of(fleet)).code == 0
    ran = run(fleet, "apply", saved, "--auto-approve", "--targets-at-once=3", "--format", "json", env=keys_of(fleet))
    assert ran.code == 4
    lines = [json.loads(line) for line in ran.out.splitlines()]
    kinds = [line["type"] for line in lines]
    assert kinds[:2] == ["version", "plan"]
    assert kinds[-4:] == ["summary", "result", "result", "result"]
    assert "result" not in kinds[:-4]
    assert all(line["target"] in names for line in lines[2:-4])
    assert [line["target"] for line in lines[-3:]] == names
    assert [line["complete"] for line in lines[-3:]] == [True, False, True]
    assert ["outputs" in line for line in lines[-3:]] == [False, False, True]
    assert lines[-4] == {
        "type": "summary",
        "counts": {"applied": 2, "failed": 1},
        "targets": dict(zip(names, ("applied", "failed", "applied"), strict=True)),
    }
    for name in names:
        per_target = [line["type"] for line in lines if line.get("target") == name]
        assert per_target.count("action_finished") == CHANNELS
    assert [result.name for result in read_events(lines)[1]] == names
    server.control.clear_faults()
    assert applied(fleet, names).code == 0
    assert in_sync(fleet, names)


def started(folder: Path, names: Sequence[str]) -> subprocess.Popen[str]:
    return Process(
        ["apply", "--auto-approve", "--format", "json", *on(names)],
        cwd=folder,
        env={**os.environ, **keys_of(folder)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def until_all(process: subprocess.Popen[str], names: Sequence[str], event: str) -> list[dict[str, Any]]:
    """Read events until each target had this one, and return them."""
    assert process.stdout is not None
    lines: list[dict[str, Any]] = []
    missing = set(names)
    while missing:
        lines.append(json.loads(process.stdout.readline()))
        if lines[-1]["type"] == event:
            missing.discard(lines[-1]["target"])
    return lines


def test_an_interrupt_lets_the_calls_of_all_targets_finish_and_all_report(fleet: Path, server: Sandbox) -> None:
    names = NAMES[7:10]
    server.control.add_fault("delay", operation="CreateChannel", seconds=0.5, times=None)
    with started(fleet, names) as process:
        lines = until_all(process, names, "step_started")
        process.send_signal(signal.SIGINT)
        assert process.stdout is not None
        assert process.stderr is not None
        # By the same reader, which has the beginning of the next line.
        lines += [json.loads(line) for line in process.stdout]
        err = process.stderr.read()
    assert process.returncode == 4, err
    assert err.strip() == "Interrupted: waiting for in-flight calls. Press Ctrl-C again to exit now."
    results = [line for line in lines if line["type"] == "result"]
    assert [one["target"] for one in results] == names
    for name, result in zip(names, results, strict=True):
        outcomes = Counter(one["outcome"] for one in result["outcomes"])
        assert result["interrupted"] is True
        assert outcomes["done"] == len(created(server, name)) == len(channels_of(server, name)) < CHANNELS
        assert outcomes["skipped"] == CHANNELS - outcomes["done"]
        assert journal_of(fleet, name)[-1]["event"] == "end"
        assert len(recorded(fleet, name)) == outcomes["done"]
    server.control.clear_faults()
    assert applied(fleet, names).code == 0
    assert in_sync(fleet, names)
    assert all(len(created(server, name)) == len(channels_of(server, name)) == CHANNELS for name in names)


def test_a_second_interrupt_ends_all_targets_at_once(fleet: Path, server: Sandbox) -> None:
    names = NAMES[10:13]
    server.control.add_fault("hang", operation="CreateChannel", seconds=60, times=None)
    with started(fleet, names) as process:
        assert process.stderr is not None
        until_all(process, names, "step_started")
        process.send_signal(signal.SIGINT)
        assert any(line.startswith("Interrupted: waiting ") for line in process.stderr)
        process.send_signal(signal.SIGINT)
        err = process.stderr.read()
        assert process.wait(60) == 130
    assert err == "Interrupted. In-flight calls may have been carried out; run plan to see what is left.\n"
    server.control.clear_faults()
    planned = run(fleet, "plan", *on(names), env=keys_of(fleet))
    unfinished = [line for line in planned.err.splitlines() if "did not finish" in line]  # one for those of one second
    assert all(any(name in line for line in unfinished) for name in names), planned.err


def test_a_killed_apply_of_several_targets_is_completed_by_the_next_and_nothing_is_created_twice(
    fleet: Path, server: Sandbox
) -> None:
    names = NAMES[13:16]
    server.control.add_fault("delay", operation="CreateChannel", seconds=0.3, times=None)
    with started(fleet, names) as process:
        until_all(process, names, "step_finished")
        process.kill()
    # Is answered after the calls that were in flight: one that is carried out after everything below would be a duplicate.
    client(server.endpoint_url, account="999999999999").create_channel(name="last")
    server.control.clear_faults()
    assert all(0 < len(channels_of(server, name)) < CHANNELS for name in names)
    assert applied(fleet, names).code == 0
    assert in_sync(fleet, names)
    for name in names:
        assert len(set(channels_of(server, name))) == len(channels_of(server, name)) == CHANNELS
        # A call that was in flight at the kill may have been carried out after the next apply had read: it removes its own.
        deleted = server.control.calls(operation="DeleteChannel", account=account_of(name))
        assert succeeded(created(server, name)) - succeeded(deleted) == CHANNELS


@pytest.mark.parametrize("width", [80, 40])
def test_a_terminal_shows_one_progress_for_all_targets_and_then_whole_blocks(
    fleet: Path, server: Sandbox, width: int
) -> None:
    names = NAMES[16:20] if width == 80 else NAMES[20:24]
    server.control.add_fault("delay", operation="CreateChannel", seconds=0.3, times=None)
    env = {**keys_of(fleet), "COLUMNS": str(width)}
    with at_terminal(fleet, "apply", "--auto-approve", *on(names), env=env) as screen:
        screen.until("4 targets: ")
        screen.until("actions")
        assert screen.end() == 0
    shown = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", screen.text).replace("\r\n", "\n")
    assert "reading 4 targets: 4 left" in shown
    assert re.search(r"4 targets:( \d done,)? \d left", shown.split("Applying to")[1])
    assert list(blocks(shown)) == names
    assert "\n4 targets: 4 applied.\n" in shown
    assert max(map(len, re.split(r"[\r\n]", shown))) <= max(width, 60)


def test_the_progress_of_a_reading_counts_the_targets_and_estimates_the_end() -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    out, now = Terminal(), iter(range(0, 1000, 10))
    meter = Meter(out, 20, clock=lambda: float(next(now)))
    meter.begin()
    meter("t00", 3, None)
    meter.finished("t00", failed=False)
    meter.finished("t01", failed=True)
    meter("t02", 1, None)
    meter.clear()
    lines = [line.rstrip() for line in out.getvalue().split("\r") if line.strip()]
    assert lines[:3] == [
        "reading 20 targets: 20 left",
        "reading 20 targets: 20 left, t00: 3 calls",
        "reading 20 targets: 1 done, 19 left",
    ]
    # Two of 20 have ended after 40 seconds, so the others take six minutes.
    assert re.fullmatch(r"reading 20 targets: 1 done, 1 failed, 18 left, ends .* \(6 min\)", lines[3])
    assert "(8 min), t0" in lines[4]
    assert out.getvalue().endswith("\r")
