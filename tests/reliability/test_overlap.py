"""A key pair that overlaps the next, from the change of its public key to the end of its time, against the sandbox."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from reconciler.drift.classify import classify
from reconciler.model.address import RETIRES
from reconciler.model.resource import DesiredState
from reconciler.plan.codec import dumps
from reconciler.plan.plan import PlanOptions
from reconciler.workflow.saved_plans import plan_to_run
from reconciler.workflow.survey import Survey, combine_plans, plan_target
from tests.builders import desired
from tests.reliability.world import HERE, World, key_pair, one_world

START = datetime(2026, 11, 20, 10, tzinfo=UTC)
WEEK = 7 * 86_400


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    with one_world(tmp_path, seed=9) as world:
        yield world


def spec(key: str) -> DesiredState:
    return desired(key_pair("web", key, overlap=WEEK))


def at(world: World, wanted: DesiredState, now: datetime) -> Survey:
    survey = world.survey(wanted)
    return survey._replace(
        plan=plan_target(
            world.project, HERE, wanted, survey.live, PlanOptions(), survey.connection, {}, now=lambda: now
        )
    )


def test_the_old_pair_stays_until_its_time_is_not_drift_and_is_then_deleted(world: World) -> None:
    world.carry_out(at(world, spec("one"), START))
    world.carry_out(at(world, spec("two"), START))
    assert len(world.everything()) == 2
    for later in (timedelta(), timedelta(days=6, hours=23)):
        survey = at(world, spec("two"), START + later)
        report = classify(survey.plan, survey.desired, survey.live)
        assert not survey.plan.actions
        assert (report.drifted, report.pending, report.findings) == (False, False, ())
        assert "until 2026-11-27T10:00:00Z" in report.notes[0]
    survey = at(world, spec("two"), START + timedelta(days=7))
    report = classify(survey.plan, survey.desired, survey.live)
    assert (report.drifted, report.pending) == (False, True)
    world.carry_out(survey)
    (left,) = world.everything()
    assert RETIRES not in left["tags"]
    assert not at(world, spec("two"), START + timedelta(days=7)).plan.actions


def test_killed_after_the_import_the_old_pair_still_gets_its_time(world: World) -> None:
    world.carry_out(at(world, spec("one"), START))
    survey = at(world, spec("two"), START)
    (action,) = survey.plan.actions
    world.carry_out(survey._replace(plan=survey.plan._replace(actions=(action._replace(steps=action.steps[:1]),))))
    survey = at(world, spec("two"), START + timedelta(hours=1))
    assert not classify(survey.plan, survey.desired, survey.live).drifted
    world.carry_out(survey)
    assert sorted(pair["tags"].get(RETIRES, "") for pair in world.everything()) == ["", "2026-11-27T11:00:00Z"]


def test_the_time_of_a_saved_plan_counts_from_its_apply(world: World) -> None:
    world.carry_out(at(world, spec("one"), START))
    survey = at(world, spec("two"), START)
    plan = combine_plans(world.project, (survey,), PlanOptions(), git_commit=None, now=START)
    assert "2026-11-27T10:00:00Z" in dumps(plan)
    again = plan_to_run(plan.targets[0], at(world, spec("two"), START + timedelta(days=2)))
    assert "2026-11-29T10:00:00Z" in dumps(plan._replace(targets=(again,)))
    assert plan_to_run(plan.targets[0], survey) == survey.plan
