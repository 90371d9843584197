"""Many targets in one process: descriptors, targets at once, and a target that fails beside the others."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from reconciler.sandbox import Sandbox
from tests.cli.support import REGION, Ran, run
from tests.workflow.fleets import keys_of

COUNT = 40
BROKEN = "t007"


@pytest.fixture(scope="module")
def server() -> Iterator[Sandbox]:
    with Sandbox() as sandbox:
        sandbox.control.add_fault(effect="delay", operation="*", seconds=0.02, times=None)
        yield sandbox


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory, server: Sandbox) -> Path:
    """A project of 40 accounts on one server that takes its time; one target has no credentials."""
    folder = tmp_path_factory.mktemp("fleet")
    targets = {
        f"t{n:03}": {
            "region": REGION,
            "accountId": f"{200_000_000_000 + n}",
            "profile": f"p{n}",
            "endpointUrl": server.endpoint_url,
        }
        for n in range(COUNT)
    }
    (folder / "ivs-reconciler.yaml").write_text(yaml.safe_dump({"stack": "acme", "targets": targets}), "utf-8")
    (folder / "specs").mkdir()
    (folder / "specs" / "live.yaml").write_text("channels: {one: {}}\n", "utf-8")
    keys = "\n".join(
        f"[p{n}]\naws_access_key_id = {200_000_000_000 + n}\naws_secret_access_key = any"
        for n in range(COUNT)
        if f"t{n:03}" != BROKEN
    )
    (folder / "credentials").write_text(keys, "utf-8")
    return folder


def limited(folder: Path, descriptors: int, *words: str) -> Ran:
    """Run ``ivs-reconciler`` with a limit of open files."""
    done = subprocess.run(
        ["sh", "-c", f'ulimit -n {descriptors}; exec "$0" -m reconciler "$@"', sys.executable, *words],
        cwd=folder,
        env={**os.environ, **keys_of(folder)},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert "Traceback" not in done.stdout + done.stderr, done.stderr
    return Ran(done.returncode, done.stdout, done.stderr)


def test_targets_need_few_descriptors_and_a_failed_one_hides_no_other(fleet: Path) -> None:
    said = [limited(fleet, 100, "plan", *words) for words in ((), ("--targets-at-once", "1"))]
    assert said[0].out == said[1].out, "the order and the blocks are the project's"
    for ran in said:
        assert ran.code == 1
        assert BROKEN in ran.err
        assert len(ran.err.splitlines()) == 1
        lines = ran.out.splitlines()
        assert lines[0] == f"{COUNT} targets: {COUNT - 1} with changes, 1 failed."
        assert lines[2].split() == ["t000", "200000000000", REGION, "with", "changes", "1", "to", "create"]
        assert lines[COUNT + 1].split()[:2] == [BROKEN, "failed"]
        names = [
            line.partition(":")[0] for line in ran.out.splitlines() if line.startswith("t") and ": account" in line
        ]
        assert names == [f"t{n:03}" for n in range(COUNT) if f"t{n:03}" != BROKEN]


@pytest.mark.parametrize("verb", ["plan", "drift"])
@pytest.mark.parametrize("form", ["markdown", "html", "json", "text"])
def test_every_format_counts_the_targets_and_names_the_one_that_failed(fleet: Path, verb: str, form: str) -> None:
    words = [word for name in ("t000", "t001", BROKEN, "t002") for word in ("-t", name)]
    ran = run(fleet, verb, "--format", form, *words, env=keys_of(fleet))
    assert ran.code == 1
    if form == "json":
        assert [one["name"] for one in ran.json["failed"]] == [BROKEN]
        assert "p7" in ran.json["failed"][0]["message"]
        return
    assert f"4 targets: 3 {'with changes' if verb == 'plan' else 'pending'}, 1 failed" in ran.out
    assert ran.out.index(BROKEN) > 0
    assert "p7" in ran.out


def test_drift_reports_each_target_and_the_one_that_failed(fleet: Path) -> None:
    ran = limited(fleet, 100, "drift", "--format", "json")
    assert ran.code == 1
    assert [one["name"] for one in ran.json["targets"]] == [f"t{n:03}" for n in range(COUNT) if f"t{n:03}" != BROKEN]
    assert BROKEN in str(ran.json["failed"])


def test_too_many_open_files_is_what_is_said(fleet: Path, server: Sandbox) -> None:
    # So slow that all calls are in flight at once.
    server.control.add_fault(effect="delay", operation="GetCallerIdentity", seconds=2.0, times=None)
    ran = limited(fleet, 16, "plan", "--targets-at-once", "40")
    server.control.clear_faults()
    server.control.add_fault(effect="delay", operation="*", seconds=0.02, times=None)
    assert ran.code == 1
    assert "too many open files (the limit is 16); raise it with ulimit -n, or lower --targets-at-once" in ran.err
    assert ran.err.count("could not be found") <= 1, "only the profile that is really missing"


def test_300_roles_are_assumed_under_256_descriptors_and_one_that_is_refused_hides_no_other(
    tmp_path: Path, server: Sandbox
) -> None:
    count, refused, broken = 300, "t017", "t123"
    accounts = {f"t{n:03}": f"{400_000_000_000 + n}" for n in range(count)}
    targets = {
        name: {
            "region": REGION,
            "accountId": account,
            "roleArn": f"arn:aws:iam::{account}:role/deploy",
            "profile": "ci",
            "endpointUrl": server.endpoint_url,
        }
        for name, account in accounts.items()
    }
    (tmp_path / "ivs-reconciler.yaml").write_text(yaml.safe_dump({"stack": "acme", "targets": targets}), "utf-8")
    (tmp_path / "specs").mkdir()
    (tmp_path / "specs" / "live.yaml").write_text("channels: {one: {}}\n", "utf-8")
    key = "[ci]\naws_access_key_id = 123456789012\naws_secret_access_key = any\n"
    (tmp_path / "credentials").write_text(key, "utf-8")
    server.control.deny("AssumeRole", arn=targets[refused]["roleArn"])
    server.control.deny("ListChannels", account=accounts[broken])
    ran = limited(tmp_path, 256, "plan")
    server.control.clear_faults()
    server.control.add_fault(effect="delay", operation="*", seconds=0.02, times=None)
    assert ran.code == 1
    lines = ran.out.splitlines()
    assert lines[0] == f"{count} targets: {count - 2} with changes, 2 failed."
    assert [line.split()[:2] for line in lines[count : count + 2]] == [[refused, "failed"], [broken, "failed"]]
    assert [line.partition(":")[0] for line in ran.err.splitlines()] == [refused, broken]
    assert "AccessDenied" in ran.err
    callers = {call["account"] for call in server.control.calls(operation="ListChannels", limit=1_000)}
    assert callers >= set(accounts.values()) - {accounts[refused]}


@pytest.mark.parametrize("value", ["0", "-1", "x", "1001", "٣"])
def test_a_number_of_targets_is_at_least_one(fleet: Path, value: str) -> None:
    ran = limited(fleet, 256, "plan", f"--targets-at-once={value}")
    assert ran.code == 1
    assert "is not a number from 1 to 1,000" in ran.err


def test_an_apply_needs_few_descriptors_and_leaves_every_target_in_sync(fleet: Path) -> None:
    some = [word for n in range(10, 24) for word in ("-t", f"t{n:03}")]
    applied = limited(fleet, 16, "apply", "--auto-approve", *some)
    assert applied.code == 0, applied.err
    assert applied.err == ""
    assert applied.out.count("Apply complete") == 14
    after = limited(fleet, 16, "drift", *some)
    assert after.code == 0, after.out
    assert after.out.startswith("14 targets: 14 in sync.\n")
