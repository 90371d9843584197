"""The last look of an apply for what another apply made too, where it cannot be taken."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Mapping
from typing import Any

import pytest

from reconciler.apply import execute
from reconciler.apply.call import LAG_SECONDS
from reconciler.apply.claims import NewResources
from reconciler.model.kinds import Kind
from reconciler.plan.plan import Verb
from tests.apply.makers import Service, Time, action, plan, refusal, step


@pytest.mark.parametrize("retryable", [True, False])
def test_it_is_repeated_only_where_that_may_help(retryable: bool) -> None:
    time = Time()
    looks: list[Kind] = []

    def listing(kind: Kind, _: Mapping[str, object]) -> Iterable[Mapping[str, Any]]:
        looks.append(kind)
        raise refusal("Credentials", "no credentials", retryable=retryable)

    calls = Service({"CreateChannel": {"channel": {"arn": "c"}, "streamKey": {"arn": "k"}}})
    create = action(
        "channel/main",
        step(
            "channel/main#1",
            "CreateChannel",
            binds="channel/main=channel.arn",
            name="main",
            tags={"ivsr:stack": "acme", "ivsr:id": "main"},
        ),
        verb=Verb.CREATE,
    )
    new_resources = NewResources(listing, "acme", (), read_at=0.0, clock=time.clock)
    result = execute(
        plan(create),
        calls,
        on_event=lambda _: None,
        stop=threading.Event(),
        sleep=time.sleep,
        clock=time.clock,
        new_resources=new_resources,
    )
    assert result.complete
    assert looks
    assert (time.now >= LAG_SECONDS) is retryable
