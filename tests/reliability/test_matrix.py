"""Every cell of the fault matrix is run, and the page shows what came of it."""

from __future__ import annotations

import pytest

from reconciler.model.kinds import KINDS
from tests.plan.case import read_cases
from tests.reliability.matrix import Bench, Row, rows, shown, table


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Bench:
    return Bench(tmp_path_factory.mktemp("matrix"))


@pytest.mark.parametrize("row", list(rows()), ids=lambda row: f"{row.kind.value}-{row.step}")
def test_a_step_survives_every_fault_and_the_page_says_how(row: Row, bench: Bench) -> None:
    line = table({(KINDS[row.kind].title, row.step): bench.cells(row)}).splitlines()[-1]
    assert line in shown().splitlines(), "docs/reliability.md is not fresh: python -m tests.reliability.matrix --write"


def test_the_page_shows_no_step_that_there_is_not() -> None:
    named = {f"| {KINDS[row.kind].title} | {row.step} |" for row in rows()}
    lines = shown().splitlines()[2:]
    assert len(lines) == len(named) == len(list(rows()))
    assert all(any(line.startswith(name) for name in named) for line in lines)


def test_every_step_that_any_case_of_the_planner_holds_is_there() -> None:
    meant = {(row.kind, row.operation) for row in rows()}
    plans = [case.values[0].plan() for case in read_cases()]
    held = {(action.kind, step.operation) for plan in plans for action in plan.actions for step in action.steps}
    assert len(held) > 30
    assert held <= meant, held - meant


def test_every_kind_is_there_with_every_call_it_has() -> None:
    meant = {(row.kind, row.operation) for row in rows()}
    for kind in KINDS.values():
        assert (kind.name, kind.create) in meant
        assert kind.update is None or (kind.name, kind.update) in meant
        assert (kind.name, "TagResource") in meant
        assert (kind.name, "UntagResource") in meant
