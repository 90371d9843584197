"""Every situation under ``tests/cases/plan``, and what must hold in each of them."""

from __future__ import annotations

import json
import random
from typing import Any

import pytest

from reconciler.model.address import STACK
from reconciler.plan.codec import dumps, fingerprint, read_plan
from reconciler.plan.guardrails import check
from reconciler.plan.plan import Plan, PlanOptions, TargetPlan
from tests.builders import THIS_STACK
from tests.plan.case import Case, read_cases, short, shown
from tests.plan.service import RefusedError, Service, in_order

ALL = read_cases()


def as_plan(target: TargetPlan, case: Case) -> Plan:
    return Plan(THIS_STACK, "2026-11-20T10:00:00Z", None, "sha256:" + case.desired.digest, case.options, (target,))


def matches(expected: Any, found: Any) -> bool:
    """Whether ``found`` has everything that an expectation names; parameters and changes are compared whole."""
    for key, value in expected.items():
        if key == "says":
            if not all(fragment in found["says"] for fragment in ([value] if isinstance(value, str) else value)):
                return False
        elif key == "steps" and value and all(isinstance(step, str) for step in value):
            if value != [next(iter(step)) for step in found["steps"]]:
                return False
        elif found[key] != value:
            return False
    return True


@pytest.mark.parametrize("case", ALL)
def test_the_plan_is_as_expected(case: Case) -> None:
    plan = case.plan()
    found = [shown(action, case) for action in plan.actions]
    expected = case.expect["actions"]
    assert [action["do"] for action in found] == [action["do"] for action in expected]
    for one, other in zip(expected, found, strict=True):
        assert matches(one, other), f"{json.dumps(one, indent=1)}\n is not\n{json.dumps(other, indent=1)}"
    ids = [step.id for action in plan.actions for step in action.steps]
    assert len(set(ids)) == len(ids)
    if "run" in case.expect:
        assert [f"{step.operation} {step.id.partition('#')[0]}" for step in in_order(plan.actions)] == case.expect[
            "run"
        ]
    found_quotas = {use.kind.value: [use.now, use.peak, use.after] for use in plan.quotas}
    assert all(found_quotas[kind] == numbers for kind, numbers in case.expect.get("quotas", {}).items()), found_quotas
    for count, number in case.expect.get("summary", {}).items():
        assert getattr(plan.summary, count) == number, count
    assert [
        f"{orphan.address}{' (protected)' if orphan.protected else ''}" for orphan in plan.orphans
    ] == case.expect.get("orphans", [])
    assert [str(duplicate.address) for duplicate in plan.duplicates] == case.expect.get("duplicates", [])
    assert {short(one.arn): short(one.usage) for one in plan.kept} == case.expect.get("kept", {})
    said = short("\n".join(plan.notes))
    assert all(fragment in said for fragment in case.expect.get("notes", [])), said
    assert bool(said) == bool(case.expect.get("notes")), said


@pytest.mark.parametrize("case", ALL)
def test_the_guardrails_say_what_is_expected(case: Case) -> None:
    refusals = check(
        case.plan(), case.guardrails, PlanOptions(**{f"allow_{name}": value for name, value in case.allow.items()})
    )
    expected = case.expect.get("refused", [])
    assert len(refusals) == len(expected), refusals
    assert all(fragment in refusal for fragment, refusal in zip(expected, refusals, strict=True)), refusals


@pytest.mark.parametrize("case", ALL)
def test_the_plan_survives_json(case: Case) -> None:
    plan = as_plan(case.plan(), case)
    assert read_plan([dumps(plan)]) == plan


@pytest.mark.parametrize("case", ALL)
def test_the_order_in_which_things_came_does_not_show(case: Case) -> None:
    chance = random.Random(7)
    reference = case.plan()
    for _ in range(3):
        resources = list(case.desired.resources.items())
        chance.shuffle(resources)
        groups = [(kind, chance.sample(group, len(group))) for kind, group in case.live.resources.items()]
        chance.shuffle(groups)
        wanted = case.desired._replace(resources=dict(resources))
        live = case.live._replace(resources={kind: tuple(group) for kind, group in groups})
        plan = case.plan(wanted, live)
        assert fingerprint(plan) == fingerprint(reference)
        assert dumps(as_plan(plan, case)) == dumps(as_plan(reference, case))


@pytest.mark.parametrize("case", [case for case in ALL if "fails" not in case.values[0].expect])
def test_the_service_accepts_the_steps_in_any_order_that_the_plan_allows(case: Case) -> None:
    plan = case.plan()
    for seed in range(10):
        Service(case.live, case.streams, case.applied.limits).run(plan, random.Random(seed))


@pytest.mark.parametrize("case", ALL)
def test_the_service_accepts_the_plan_and_the_next_plan_has_nothing_left_to_do(case: Case) -> None:
    service = Service(case.live, case.streams, case.applied.limits)
    plan = case.plan()
    if "fails" in case.expect:
        with pytest.raises(RefusedError, match=case.expect["fails"]):
            service.run(plan)
        return
    after = service.run(plan)
    after = case.live._replace(resources=after.resources)
    unmanaged = {
        resource.arn
        for group in case.live.resources.values()
        for resource in group
        if resource.tags.get(STACK, "") not in ("", THIS_STACK, *case.options.take_over)
        or (not resource.tags.get(STACK) and resource.arn not in {action.arn for action in plan.actions})
    }
    assert not unmanaged & service.touched, "something unmanaged was touched"
    following = case.plan(
        live_state=after,
        later=True,
        streams={arn: stream for arn, stream in case.streams.items() if arn in service.streams},
    )
    left = [f"{action.verb} {action.address}" for action in following.actions if action.blocked is None]
    assert left == case.expect.get("then", []), left
