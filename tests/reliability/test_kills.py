"""An apply is killed at a random moment, again and again: each time the next plan shows the truth, and in the end one of everything stands."""

from __future__ import annotations

import itertools
import json
import os
import random
import signal
import subprocess
import time
import urllib.request
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.cli.support import client, rewrite, run, stack
from tests.preloaded import Process

KEYS = Path(__file__).resolve().parent.parent / "scenarios" / "keys"
ENOUGH = 26
"""Kills of each test; fifty in all are promised."""

CREDENTIALS = {"AWS_ACCESS_KEY_ID": "123456789012", "AWS_SECRET_ACCESS_KEY": "any"}
ADS = {
    "mediaTailorPlaybackConfigurations": [
        {"playbackConfigurationArn": "arn:aws:mediatailor:us-west-2:123456789012:playbackConfiguration/main"}
    ]
}


@contextmanager
def served() -> Iterator[str]:
    """Serve a sandbox from a process of its own, which no kill reaches."""
    command = ["sandbox", "serve", "--port", "0", "--settle-seconds", "0.1"]
    with Process(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield process.stdout.readline().split(" on ")[1].split()[0]
        finally:
            process.terminate()


def status(url: str) -> Counter[str]:
    """Count what carries our tags, by address, once nothing moves any more."""
    while True:
        found, again = _inventory(url), _inventory(url)
        if found == again:
            break
        time.sleep(0.05)
    return Counter(
        f"{item['kind']}/{item['tags']['ivs-reconciler:id']}"
        for item in found
        if item["tags"].get("ivs-reconciler:stack") == "acme-live"
    )


def _inventory(url: str) -> list[dict[str, Any]]:
    with urllib.request.urlopen(f"{url}/_sandbox/inventory?limit=1000", timeout=60) as answer:
        found: list[dict[str, Any]] = json.loads(answer.read())
    return found


class Killed:
    """Applies a project again and again, and kills each apply after some of its steps."""

    def __init__(self, folder: Path, url: str, seed: int) -> None:
        self.folder = folder
        self.url = url
        self.rng = random.Random(seed)
        self.kills = 0
        self.said: list[str] = []

    def until_done(self, most: int) -> None:
        """Apply until one comes to its end; ``most`` is the most steps that one may do before it is killed."""
        while not self._once(self.rng.randint(0, most)):
            self.kills += 1
            assert self.kills < 400, "it gets nowhere"

    def _once(self, steps: int) -> bool:
        there = status(self.url)
        command = ["apply", "--auto-approve", "--prune", "--format", "json"]
        environment = {**os.environ, **CREDENTIALS}
        with Process(
            command, cwd=self.folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        ) as process:
            assert process.stdout is not None
            assert process.stderr is not None
            killed = False
            for line in process.stdout:
                event = json.loads(line)
                if event["type"] == "plan":
                    _shows_the_truth(event["plan"], there)
                steps -= event["type"] == "step_finished"
                if event["type"] == "step_started" and steps <= 0:
                    time.sleep(self.rng.random() * 0.01)
                    process.send_signal(signal.SIGKILL)
                    killed = True
                    break
            said = process.stderr.read()
        assert "Traceback" not in said, said
        self.said += [text for text in said.splitlines() if text.startswith("note:")]
        assert killed or process.returncode == 0, said
        return not killed


def _shows_the_truth(plan: Mapping[str, Any], there: Counter[str]) -> None:
    (target,) = plan["targets"]
    for action in target["actions"]:
        stands = there[_sandbox_name(action["address"])]
        if action["action"] == "create":
            assert stands == 0, f"{action['address']} exists and would be created again"
        elif action["action"] in ("update", "replace", "delete"):
            assert stands > 0, f"{action['address']} does not exist and would be changed"


def _sandbox_name(address: str) -> str:
    return address.replace("playback-key-pair/", "playback-key/")


def in_the_end(killed: Killed, expected: set[str], unmanaged: Mapping[str, Any]) -> None:
    """One of everything is left, the next plan is empty, and what is not ours is as it was."""
    assert status(killed.url) == dict.fromkeys(expected, 1)
    assert run(killed.folder, "plan", "--prune", "--detailed-exitcode", env=CREDENTIALS).code == 0
    assert client(killed.url).get_channel(arn=unmanaged["arn"])["channel"]["tags"] == unmanaged["tags"]


def names(spec: Mapping[str, Any]) -> set[str]:
    """Return the addresses of a spec, as the sandbox calls them."""
    sections = {
        "recordingConfigurations": "recording-configuration",
        "failoverSlateConfigurations": "failover-slate-configuration",
        "playbackKeyPairs": "playback-key",
        "playbackRestrictionPolicies": "playback-restriction-policy",
        "adConfigurations": "ad-configuration",
        "channels": "channel",
    }
    found = {f"{kind}/{name}" for section, kind in sections.items() for name in spec.get(section, {})}
    return found | {f"stream-key/{name}" for name, channel in spec["channels"].items() if "streamKey" in channel}


def forty(window: int, key: str, channels: int) -> dict[str, Any]:
    """Return a spec of about forty resources of every kind; ``window`` and ``key`` change what can only be replaced."""
    return {
        "recordingConfigurations": {
            f"r{number}": {
                "destinationConfiguration": {"s3": {"bucketName": "vod"}},
                "recordingReconnectWindowSeconds": window,
            }
            for number in range(4)
        },
        "failoverSlateConfigurations": {
            f"s{number}": {"minSlateDisplaySeconds": 3 + window // 30} for number in range(2)
        },
        "playbackKeyPairs": {"web": {"publicKeyMaterial": (KEYS / f"{key}.pem").read_text(encoding="utf-8")}},
        "playbackRestrictionPolicies": {"eu": {"allowedCountries": ["DE"] if window else ["DE", "FR"]}},
        "adConfigurations": {"ads": ADS},
        "channels": {
            f"c{number:02}": {
                "recordingConfiguration": f"r{number % 4}",
                "tags": {"team": f"t{window}"},
                **({"streamKey": {}} if number % 2 else {}),
            }
            for number in range(channels)
        },
    }


def project(tmp_path: Path, url: str, spec: Mapping[str, Any]) -> Path:
    limits = {"maxDeletes": None, "maxDeletePercent": None}
    return stack(tmp_path / "repo", spec, target={"sandbox": None, "endpointUrl": url}, guardrails=limits)


def foreign_channel(url: str) -> dict[str, Any]:
    made: dict[str, Any] = client(url).create_channel(
        name="theirs", tags={"ivs-reconciler:stack": "other", "ivs-reconciler:id": "c01"}
    )["channel"]
    return made


@pytest.mark.slow
def test_forty_resources_made_and_changed_while_being_killed(tmp_path: Path) -> None:
    specs = itertools.cycle((forty(0, "one", 21), forty(30, "two", 18)))
    with served() as url:
        unmanaged = foreign_channel(url)
        killed = Killed(project(tmp_path, url, next(specs)), url, seed=40)
        while killed.kills < ENOUGH:
            spec = next(specs)
            rewrite(killed.folder, spec)
            killed.until_done(most=2)
            in_the_end(killed, names(spec), unmanaged)
    assert any("did not finish; in-flight calls:" in note for note in killed.said), killed.said


@pytest.mark.slow
def test_four_hundred_resources_made_while_being_killed(tmp_path: Path) -> None:
    small = {
        "recordingConfigurations": {"archive": {"destinationConfiguration": {"s3": {"bucketName": "vod"}}}},
        "channels": {"c000": {}},
    }
    spec = {**small, "channels": {f"c{number:03}": {"recordingConfiguration": "archive"} for number in range(399)}}
    specs = itertools.cycle((spec, small))
    with served() as url:
        unmanaged = foreign_channel(url)
        killed = Killed(project(tmp_path, url, spec), url, seed=400)
        while killed.kills < ENOUGH:
            due = next(specs)
            rewrite(killed.folder, due)
            killed.until_done(most=60)
            in_the_end(killed, names(due), unmanaged)


@pytest.mark.slow
def test_two_processes_apply_the_same_spec_at_once(tmp_path: Path) -> None:
    spec = forty(0, "one", 12)
    with served() as url:
        unmanaged = foreign_channel(url)
        control(url, "add_fault", effect="delay", operation="List*", seconds=0.4, times=None)
        folders = [project(tmp_path / name, url, spec) for name in ("one", "two")]
        command = ["apply", "--auto-approve"]
        environment = {**os.environ, **CREDENTIALS}
        both = [
            Process(command, cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
            for folder in folders
        ]
        said = [process.communicate(timeout=300)[0] for process in both]
        control(url, "clear_faults")
        assert [process.returncode for process in both] == [0, 0], said
        assert "another apply created it" in "".join(said), "they did not meet"
        in_the_end(Killed(folders[0], url, 0), names(spec), unmanaged)


def control(url: str, name: str, **members: object) -> None:
    """Call the control interface of a served sandbox."""
    request = urllib.request.Request(
        f"{url}/_sandbox/{name}", json.dumps(members).encode(), {"Content-Type": "application/json"}
    )
    urllib.request.urlopen(request, timeout=60).close()
