"""``--pin``: a project file from elsewhere says where requests go, as whom, and who is notified."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.cli.support import ACCOUNT, REGION, run, stack

ROLE = f"arn:aws:iam::{ACCOUNT}:role/ivs"
PINNED: dict[str, Any] = {
    "stack": "acme-live",
    "targets": {
        "dev": {
            "region": REGION,
            "accountId": ACCOUNT,
            "roleArn": ROLE,
            "externalId": "acme",
            "lock": {"s3": {"bucket": "acme-locks", "key": "dev"}},
        }
    },
    "receivers": {"ops": {"slack": {"urlEnv": "SLACK_URL"}}},
}
CHANGES: dict[str, dict[str, Any]] = {
    "targets.dev.region": {"region": "eu-west-1"},
    "targets.dev.accountId": {"accountId": None},
    "targets.dev.roleArn": {"roleArn": f"{ROLE}2"},
    "targets.dev.externalId": {"externalId": "other"},
    "targets.dev.profile": {"profile": "other"},
    "targets.dev.endpointUrl": {"endpointUrl": "https://ivs.example.com"},
    "targets.dev.sandbox": {"roleArn": None, "externalId": None, "sandbox": "x.db"},
    "targets.dev.lock": {"lock": None},
}


def write(path: Path, content: object) -> Path:
    path.write_text(yaml.safe_dump(content, sort_keys=False), encoding="utf-8")
    return path


@pytest.mark.parametrize(("field", "change"), CHANGES.items(), ids=CHANGES)
def test_what_is_not_as_pinned_is_refused_before_any_request(
    tmp_path: Path, field: str, change: dict[str, Any]
) -> None:
    folder = stack(tmp_path / "repo", {"channels": {"a": {}}})
    pin = write(tmp_path / "pin.yaml", PINNED)
    target = {name: value for name, value in (PINNED["targets"]["dev"] | change).items() if value is not None}
    pinned = {**PINNED, **PINNED["targets"]["dev"]}.get(field.rpartition(".")[2])
    write(folder / "ivs-reconciler.yaml", {**PINNED, "targets": {"dev": target}})
    for words in (("plan",), ("apply", "--auto-approve"), ("drift", "--notify"), ("status",)):
        ran = run(folder, "--pin", str(pin), *words)
        assert (ran.code, ran.out) == (3, "")
        assert f"ivs-reconciler.yaml: {field} is " in ran.err
        assert ("pin.yaml does not set it; " if pinned is None else "pin.yaml pins it to ") in ran.err
        assert "not set" in ran.err if None in change.values() else True


def test_receivers_the_stack_and_unknown_targets_are_refused_and_the_same_file_is_not(tmp_path: Path) -> None:
    dev: dict[str, Any] = {"region": REGION, "sandbox": ".sandbox/dev.db", "lock": {"file": "dev.lock"}}
    folder = stack(tmp_path / "repo", {"channels": {"a": {}}})
    (tmp_path / "main").mkdir()
    pin = write(tmp_path / "main" / "pin.yaml", {**PINNED, "targets": {"dev": dev}})
    file = folder / "ivs-reconciler.yaml"
    for changed, said in (
        ({"stack": "other"}, 'stack is "other", and '),
        ({"receivers": {}}, "receivers.ops is not as in "),
        ({"receivers": {"ops": {"slack": {"urlEnv": "OTHER_URL"}}}}, "receivers.ops is not as in "),
        ({"receivers": {**PINNED["receivers"], "new": {"webhook": {"urlEnv": "URL"}}}}, "receivers.new is not as in "),
        ({"targets": {"dev": dev, "new": {**dev, "region": "eu-west-1"}}}, "targets.new is not in "),
    ):
        write(file, {**PINNED, "targets": {"dev": dev}, **changed})
        ran = run(folder, "--pin", str(pin), "plan")
        assert (ran.code, said in ran.err) == (3, True), ran.err
    assert run(folder, "--pin", str(pin), "-t", "dev", "plan").code == 0, "only what is used is compared"
    write(file, {**PINNED, "targets": {"dev": {**dev, "accountId": "210987654321"}}})
    assert 'targets.dev.accountId is "210987654321", and ' in (added := run(folder, "--pin", str(pin), "plan").err)
    assert "pin.yaml does not set it; " in added
    write(file, {**PINNED, "targets": {"dev": {**dev, "prune": True}}})
    assert run(folder, "apply", "--auto-approve", "--pin", str(pin)).code == 0
    missing = run(folder, "plan", "--pin", "nowhere.yaml")
    assert (missing.code, "nowhere.yaml" in missing.err) == (1, True)
