"""Quotas of the account, through the command line: asked when something is created, and what does not fit is refused."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from reconciler.sandbox import Sandbox
from tests.cli.support import Ran, client, rewrite, run, stack

ENV = {"AWS_ACCESS_KEY_ID": "123456789012", "AWS_SECRET_ACCESS_KEY": "any", "AWS_EC2_METADATA_DISABLED": "true"}


def channels(*names: str, latency: str = "LOW") -> dict[str, object]:
    return {"channels": {name: {"latencyMode": latency} for name in names}}


class Account:
    """A served sandbox in which three channels fit, one of which has no owner."""

    def __init__(self, folder: Path, sandbox: Sandbox) -> None:
        self.sandbox = sandbox
        self.ivs: Any = client(sandbox.endpoint_url)
        self.ivs.create_channel(name="nobodys")
        self.folder = stack(folder, channels("a"), target={"endpointUrl": sandbox.endpoint_url, "sandbox": None})

    def run(self, *words: str, **env: str) -> Ran:
        return run(self.folder, *words, env={**ENV, **env})

    def asked(self) -> int:
        return sum(call["operation"] == "ListServiceQuotas" for call in self.sandbox.control.calls(limit=10_000))


@pytest.fixture
def account(tmp_path: Path) -> Iterator[Account]:
    with Sandbox(limits={"channels": 3}) as sandbox:
        yield Account(tmp_path / "repo", sandbox)


def test_a_plan_that_cannot_fit_is_shown_and_then_refused_with_the_numbers(account: Account) -> None:
    rewrite(account.folder, channels("a", "b", "c"))
    for words in (("plan",), ("apply", "--auto-approve")):
        refused = account.run(*words)
        assert refused.code == 3, words
        assert "channel/c will be created" in refused.out
        assert (
            "there is 1 channel, 1 of them unmanaged, and the plan needs 4; the quota is 3 (the applied quota)"
            in refused.err
        )
        assert "L-C01DFF58" in refused.err
    assert len(account.ivs.list_channels()["channels"]) == 1
    account.sandbox.control.set_quota("channels", 4)
    assert account.run("apply", "--auto-approve").code == 0


def test_a_saved_plan_is_counted_again_before_its_first_change(account: Account) -> None:
    rewrite(account.folder, channels("a", "b"))
    assert account.run("plan", "--out", "saved.json").code == 0
    account.ivs.create_channel(name="somebody-was-quicker")
    refused = account.run("apply", "saved.json", "--auto-approve")
    assert refused.code == 3
    assert "there are 2 channels, 2 of them unmanaged, and the plan needs 4" in refused.err


def test_the_quota_is_asked_only_when_something_is_created(account: Account) -> None:
    assert account.run("apply", "--auto-approve").code == 0
    assert account.asked() == 1
    assert account.run("plan", "--detailed-exitcode").code == 0
    rewrite(account.folder, channels("a", latency="NORMAL"))
    assert account.run("apply", "--auto-approve").code == 0
    assert account.run("drift").code == 0
    assert account.asked() == 1


def test_without_the_permission_the_documented_default_is_assumed_and_said(account: Account) -> None:
    account.sandbox.control.add_fault("deny", operation="servicequotas:*", times=None)
    plan = account.run("plan")
    assert plan.code == 0
    assert "applied quotas are unknown (AccessDeniedException" in plan.out
    assert "documented defaults are assumed" in plan.out


@pytest.mark.parametrize("effect", ["error", "reset", "truncate", "html"])
def test_no_answer_or_half_an_answer_stops_no_plan(account: Account, effect: str) -> None:
    account.sandbox.control.add_fault(
        effect, operation="servicequotas:*", times=None, when="after" if effect == "truncate" else "before"
    )
    plan = account.run("plan")
    assert plan.code == 0, plan.err
    assert "1 to create" in plan.out
    assert "documented defaults are assumed" in plan.out


def test_service_quotas_is_where_ivs_was_sent_by_the_environment(account: Account) -> None:
    project = account.folder / "ivs-reconciler.yaml"
    project.write_text("stack: acme-live\ntargets: {dev: {region: us-west-2}}\n", encoding="utf-8")
    url = account.sandbox.endpoint_url
    plan = account.run("plan", AWS_ENDPOINT_URL_IVS=url, AWS_ENDPOINT_URL_STS=url)
    assert plan.code == 0, plan.err
    assert account.asked() == 1
    assert "not known" not in plan.out
