"""A fleet in shards: the same command N times, each target once, and one report of all of them."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from reconciler.sandbox import Sandbox
from tests.cli.support import client, here

ACCOUNTS = [f"{200_000_000_000 + n}" for n in range(4)]
REGIONS = ("us-west-2", "eu-west-1")
TARGETS = {f"t{account[-1]}-{region[:2]}": (account, region) for account in ACCOUNTS for region in REGIONS}
SHARDS = (["t0-us", "t1-eu", "t2-us", "t2-eu"], ["t0-eu"], ["t1-us", "t3-us", "t3-eu"])
"""Which targets are in which of three shards: a hash of account and region, that never changes."""

EMPTY = "3/40"


@pytest.fixture
def server() -> Iterator[Sandbox]:
    with Sandbox() as sandbox:
        yield sandbox


@pytest.fixture
def fleet(tmp_path: Path, server: Sandbox, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project of four accounts in two regions; the first channel of each is there, and the second is to be created."""
    folder = tmp_path / "fleet"
    (folder / "specs").mkdir(parents=True)
    (folder / "specs" / "live.yaml").write_text("channels: {one: {}}\n", "utf-8")
    targets = {
        name: {"region": region, "accountId": account, "profile": f"p{account}", "endpointUrl": server.endpoint_url}
        for name, (account, region) in TARGETS.items()
    }
    (folder / "ivs-reconciler.yaml").write_text(
        yaml.safe_dump({"stack": "acme", "targets": targets}, sort_keys=False), "utf-8"
    )
    keys = (f"[p{one}]\naws_access_key_id = {one}\naws_secret_access_key = any\n" for one in ACCOUNTS)
    (folder / "credentials").write_text("".join(keys), "utf-8")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(folder / "credentials"))
    applied = here(folder, "apply", "--auto-approve")
    assert applied.code == 0, applied.err
    (folder / "specs" / "live.yaml").write_text("channels: {one: {}, two: {latencyMode: NORMAL}}\n", "utf-8")
    return folder


def channels(server: Sandbox) -> dict[str, list[str]]:
    """Return the names of the channels of each target."""
    return {
        name: sorted(
            str(one["name"])
            for one in client(server.endpoint_url, account=account, region=region).list_channels()["channels"]
        )
        for name, (account, region) in TARGETS.items()
    }


def planned(folder: Path, *words: str) -> list[str]:
    """Save the plan of each of three shards; return the names of the files."""
    files = []
    for number in (1, 2, 3):
        files.append(f"plan-{number}.json")
        ran = here(folder, "plan", "--shard", f"{number}/3", "--out", files[-1], *words)
        assert ran.code == 0, ran.err
    return files


def test_the_plans_of_all_shards_are_the_plan_of_the_whole_byte_by_byte(fleet: Path) -> None:
    files = planned(fleet)
    whole = here(fleet, "plan", "--format", "json").json
    by_name = {target["name"]: json.dumps(target) for target in whole["targets"]}
    seen: dict[str, str] = {}
    for number, (file, names) in enumerate(zip(files, SHARDS, strict=True), start=1):
        content = json.loads((fleet / file).read_text("utf-8"))
        assert content["shards"] == {"included": [number], "total": 3}
        assert [target["name"] for target in content["targets"]] == names, "the project's order"
        seen |= {target["name"]: json.dumps(target) for target in content["targets"]}
    assert seen == by_name


def test_an_empty_shard_is_no_error_and_its_files_are_valid(fleet: Path) -> None:
    for words in (("plan",), ("drift",), ("apply", "--auto-approve"), ("status",)):
        ran = here(fleet, *words, "--shard", EMPTY)
        assert (ran.code, ran.out, ran.err) == (0, "Shard 3 of 40 has no targets.\n", ""), words
    assert here(fleet, "plan", "--shard", EMPTY, "--out", "empty.json").code == 0
    shown = here(fleet, "show", "empty.json")
    assert (shown.code, shown.out) == (0, "Shard 3 of 40 has no targets.\n")
    for verb in (("plan",), ("drift",), ("show", "empty.json")):
        for form in ("markdown", "html", "json"):
            ran = here(fleet, *verb, "--format", form, *(() if "show" in verb else ("--shard", EMPTY)))
            assert (ran.code, ran.err) == (0, ""), (verb, form)
            assert json.loads(ran.out)["targets"] == [] if form == "json" else "3 of 40" in ran.out
    assert here(fleet, "status", "--format", "json", "--shard", EMPTY).json["targets"] == []
    assert here(fleet, "drift", "--format", "junit", "--shard", EMPTY).code == 0
    applied = here(fleet, "apply", "--auto-approve", "--format", "json", "--shard", EMPTY)
    assert (applied.code, json.loads(applied.out.splitlines()[-1])["complete"]) == (0, True)
    saved = here(fleet, "apply", "--auto-approve", "empty.json")
    assert (saved.code, saved.out) == (0, "Shard 3 of 40 has no targets.\n")


def test_a_shard_of_named_targets_is_what_is_in_both(fleet: Path) -> None:
    ran = here(fleet, "plan", "--shard", "1/3", "-t", "t1-eu", "-t", "t1-us", "--format", "json")
    assert [target["name"] for target in ran.json["targets"]] == ["t1-eu"]
    assert here(fleet, "plan", "--shard", "1/3", "-t", "nowhere").code == 1
    assert [one["name"] for one in here(fleet, "status", "--shard", "2/3", "--format", "json").json["targets"]] == [
        "t0-eu"
    ]


def test_globs_are_compared_with_the_specs_of_all_shards(fleet: Path) -> None:
    text = (fleet / "ivs-reconciler.yaml").read_text("utf-8")
    assert here(fleet, "apply", "--auto-approve").code == 0
    project = yaml.safe_load(text)
    project["targets"]["t3-us"]["specs"] = ["more.yaml"]
    (fleet / "ivs-reconciler.yaml").write_text(yaml.safe_dump(project, sort_keys=False), "utf-8")
    (fleet / "more.yaml").write_text("channels: {three: {}}\n", "utf-8")
    for number, code in ((1, 0), (2, 0), (3, 2)):
        ran = here(fleet, "plan", "--shard", f"{number}/3", "--only", "channel/three", "--detailed-exitcode")
        assert ran.code == code, ran.err
        wrong = here(fleet, "plan", "--shard", f"{number}/3", "--exclude", "channel/thre")
        assert (wrong.code, "channel/thre" in wrong.err) == (1, True)


def test_a_shard_is_asked_for_and_never_guessed(fleet: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CI_NODE_INDEX", "2")
    monkeypatch.setenv("CI_NODE_TOTAL", "3")
    assert len(here(fleet, "plan", "--format", "json").json["targets"]) == 8
    ran = here(fleet, "plan", "--shard", "auto", "--format", "json")
    assert [target["name"] for target in ran.json["targets"]] == SHARDS[1]
    for word, message in (
        ("0/3", "shards are numbered from 1 to 3"),
        ("4/3", "there is no shard 4 of 3"),
        ("x", "use I/N"),
    ):
        ran = here(fleet, "plan", "--shard", word)
        assert ran.code == 1
        assert message in ran.err


NOTE = (
    "note: t0-us and t1-us state no accountId, so --shard goes by the profile: "
    "two targets of one account could be in different shards, and neither run would notice"
)


def test_targets_of_unknown_accounts_are_noted(fleet: Path) -> None:
    project = yaml.safe_load((fleet / "ivs-reconciler.yaml").read_text("utf-8"))
    del project["targets"]["t0-us"]["accountId"], project["targets"]["t1-us"]["accountId"]
    (fleet / "ivs-reconciler.yaml").write_text(yaml.safe_dump(project, sort_keys=False), "utf-8")
    said = [here(fleet, "plan", "--shard", f"{number}/3") for number in (1, 2, 3)]
    assert sum(ran.out.count("channel/two") > 0 for ran in said) >= 2
    notes = [line for ran in said for line in ran.err.splitlines()]
    assert len(notes) == 3
    assert set(notes) == {NOTE}
    assert here(fleet, "plan").err == ""


def test_a_shard_that_is_killed_while_it_applies_is_finished_by_the_next_run(fleet: Path, server: Sandbox) -> None:
    (fleet / "specs" / "live.yaml").write_text("channels: {one: {}, c: {forEach: {count: 12}}}\n", "utf-8")
    server.control.add_fault(effect="delay", operation="CreateChannel", seconds=0.02, times=None)
    process = subprocess.Popen(
        [sys.executable, "-m", "reconciler", "apply", "--auto-approve", "--shard", "1/3"],
        cwd=fleet,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=os.environ,
    )
    assert process.stdout is not None
    for line in process.stdout:
        if line.startswith(b"  done"):
            break
    process.send_signal(signal.SIGKILL)
    process.communicate()
    server.control.clear_faults()
    some = sum(len(found) for found in channels(server).values())
    assert 8 < some < 8 + 4 * 12, "killed in the middle"
    for number in (1, 2, 3):
        ran = here(fleet, "apply", "--auto-approve", "--shard", f"{number}/3")
        assert ran.code == 0, ran.err
    assert {len(found) for found in channels(server).values()} == {13}
    assert here(fleet, "drift").code == 0
