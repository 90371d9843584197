"""Holds ``--only`` and ``--exclude`` against what the targets have, where everything of it could be read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from reconciler.errors import UsageError
from reconciler.model.resource import DesiredState
from reconciler.pipeline.record import standing_in
from reconciler.pipeline.survey import Survey
from reconciler.plan.actions import PlanOptions


def must_name_something(options: PlanOptions, desired: Mapping[str, DesiredState], surveys: Sequence[Survey]) -> None:
    """Raise ``UsageError`` for globs that match nothing in any target. Where something could not be read, nobody can tell, and nothing is said."""
    if (
        not (options.only or options.exclude)
        or len(surveys) < len(desired)
        or any(survey.live.unreadable for survey in surveys)
    ):
        return
    from reconciler.plan.scope import misspelt  # noqa: PLC0415 - few ask for a part

    known = {address for state in desired.values() for address in state.resources}
    known |= {address for survey in surveys for address in standing_in(survey.live, survey.desired.stack)}
    wrong = misspelt(options.only, options.exclude, known)
    if wrong:
        raise UsageError("\n".join(wrong))
