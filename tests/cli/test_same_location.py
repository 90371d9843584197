"""Two targets of one stack in one account and region would delete each other's resources: refused, offline where it shows, after STS otherwise."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from reconciler.sandbox import Sandbox
from tests.cli.support import ACCOUNT, REGION, run, stack

ROLE = f"arn:aws:iam::{ACCOUNT}:role/ivs"
OTHER = "210987654321"

SAME: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "account": ({"accountId": ACCOUNT}, {"accountId": ACCOUNT}),
    "account and role": ({"accountId": ACCOUNT, "profile": "x"}, {"roleArn": ROLE}),
    "the same credentials": ({}, {"accountId": ACCOUNT}),
    "the same profile": ({"profile": "x"}, {"profile": "x"}),
    "the same file": ({"sandbox": ".sandbox/dev.db"}, {"sandbox": "./.sandbox/../.sandbox/dev.db"}),
    "the same server": ({"endpointUrl": "http://127.0.0.1:1"}, {"endpointUrl": "http://127.0.0.1:1/"}),
}

APART: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "accounts": ({"accountId": ACCOUNT}, {"accountId": OTHER}),
    "regions": ({"accountId": ACCOUNT}, {"accountId": ACCOUNT, "region": "eu-west-1"}),
    "files": ({"sandbox": "a.db"}, {"sandbox": "b.db"}),
    "profiles": ({"profile": "x"}, {"profile": "y"}),
    "server and AWS": ({"accountId": ACCOUNT}, {"accountId": ACCOUNT, "endpointUrl": "http://127.0.0.1:1"}),
}


def two(folder: Path, one: dict[str, Any], other: dict[str, Any], **project: Any) -> Path:
    targets = {"one": {"region": REGION, **one}, "two": {"region": REGION, **other}}
    return stack(folder, {"channels": {"a": {}}}, targets=targets, **project)


@pytest.mark.parametrize(("one", "other"), SAME.values(), ids=SAME)
def test_two_targets_in_one_place_are_a_problem_of_the_project_file(
    tmp_path: Path, one: dict[str, Any], other: dict[str, Any]
) -> None:
    for words in (("validate",), ("apply", "--auto-approve", "-t", "one")):
        ran = run(two(tmp_path, one, other), *words)
        assert ran.code == 1
        assert "targets.two has the same account and region as targets.one" in ran.err


@pytest.mark.parametrize(("one", "other"), APART.values(), ids=APART)
def test_targets_in_two_places_are_not(tmp_path: Path, one: dict[str, Any], other: dict[str, Any]) -> None:
    assert run(two(tmp_path, one, other), "validate").code == 0


@pytest.mark.parametrize("selected", [(), ("-t", "two")])
def test_targets_whose_credentials_lead_to_one_account_delete_nothing_of_each_other(
    tmp_path: Path, selected: tuple[str, ...]
) -> None:
    with Sandbox(db=tmp_path / "x.db") as sandbox:
        (tmp_path / "config").write_text(
            "".join(
                f"[profile {name}]\naws_access_key_id = {ACCOUNT}\naws_secret_access_key = x\n" for name in ("x", "y")
            )
        )
        env = {"AWS_CONFIG_FILE": str(tmp_path / "config"), "AWS_SHARED_CREDENTIALS_FILE": str(tmp_path / "none")}
        stated = {"accountId": ACCOUNT} if selected else {}
        endpoint = {"endpointUrl": sandbox.endpoint_url, "rateLimits": "off"}
        one = {"profile": "x", "specs": ["one/*.yaml"], "prune": True, **endpoint, **stated}
        other = {"profile": "y", "specs": ["two/*.yaml"], "prune": True, **endpoint}
        folder = two(tmp_path / "repo", one, other)
        for name in ("one", "two"):
            (folder / name).mkdir()
            (folder / name / "a.yaml").write_text(f"channels: {{{name}: {{}}}}\n")
        for words in (("plan",), ("apply", "--auto-approve"), ("drift",)):
            ran = run(folder, *words, *selected, env=env)
            assert (ran.code, "same account and region" in ran.out + ran.err) == (1, True)
        assert not any(call["operation"].startswith(("Create", "Delete")) for call in sandbox.control.calls(limit=1000))
