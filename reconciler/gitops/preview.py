"""What a comment says: one piece of Markdown for each target of a plan, a drift report or an apply's result, made to fit where it goes.

Comes in: a report, what it was made of, and where its whole is. Goes out: text; nothing here knows a forge.
The same findings about the same commits give the same text, to the byte, so that a comment which is right is left alone.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from reconciler.errors import PlanRefused, UsageError
from reconciler.plan.actions import ApplyResult, Plan, Result, TargetPlan
from reconciler.plan.codec import from_json
from reconciler.plan.decode import DamagedPlanError
from reconciler.plan.drift import DriftReport
from reconciler.plan.reports import read_drift, read_events, sort_of
from reconciler.report.drift_words import counted, headline
from reconciler.report.markdown import render_result, render_target
from reconciler.report.markdown_drift import render_drift
from reconciler.report.markdown_fit import size
from reconciler.report.markdown_text import code, prose
from reconciler.report.words import origin_of, plural, summary_words, title_of


@dataclass(frozen=True, slots=True)
class Report:
    """One file's worth of findings: exactly one of the three is there."""

    stack: str
    plan: Plan | None = None
    drift: tuple[DriftReport, ...] = ()
    results: tuple[ApplyResult, ...] = ()


@dataclass(frozen=True, slots=True)
class Piece:
    """What is said about one target. ``quiet``: there is nothing to look at. ``good``: nothing that should stop anybody.

    ``unsure``: nothing was seen to look at, but not everything was looked at, so that what was said before stands.
    ``whole`` gives the Markdown for a limit in bytes and what is to be kept free of it.
    """

    target: str
    title: str
    counts: str
    quiet: bool
    good: bool
    whole: Callable[[int, int], str]
    unsure: bool = False


@dataclass(frozen=True, slots=True)
class Setting:
    """What stands around the findings: the commits as the request has them, where the whole report is, and by target why an apply would be refused."""

    head: str = ""
    base: str = ""
    artefact_url: str = ""
    refusals: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


def read_report(path: Path) -> Report:
    """Read a saved plan, a drift report, or the events of an apply. Raises ``UsageError``."""
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise UsageError(
            f"{path}: {(error.strerror or 'cannot be read').lower()}; name what plan --out, drift or apply --format json wrote"
        ) from None
    except ValueError:
        raise UsageError(
            f"{path}: not a report (it is no text); name what plan --out, drift or apply --format json wrote"
        ) from None
    try:
        return _parsed(text)
    except (UsageError, PlanRefused) as error:
        sort = sort_of(text)
        what = (
            f"{sort}, which cannot be commented; name what plan --out, drift or apply --format json wrote"
            if sort
            else str(error)
        )
        raise type(error)(f"{path}: {what}") from None
    except DamagedPlanError as error:
        raise UsageError(f"{path}: not a report that can be shown: {error}") from None
    except (ValueError, RecursionError):
        raise UsageError(
            f"{path}: not a report (it is not JSON); name what plan --out, drift or apply --format json wrote"
        ) from None


def _parsed(text: str) -> Report:
    lines = text.splitlines()
    if lines and lines[0].startswith('{"type"'):
        stack, results = read_events([json.loads(line) for line in lines if line.strip()])
        return Report(stack, results=results)
    content = json.loads(text)
    if isinstance(content, dict) and "drifted" in content:
        stack, reports = read_drift(content)
        return Report(stack, drift=reports)
    plan = from_json(content)
    return Report(plan.stack, plan=plan)


def pieces(report: Report, names: Sequence[str], setting: Setting) -> tuple[Piece, ...]:
    """Return what is said about each target that is asked for; all of them when none is named. Raises ``UsageError`` for one the report does not hold."""
    if report.plan is not None:
        plan = report.plan
        found = [_of_plan(plan, target, setting) for target in plan.targets]
    elif report.results:
        found = [_of_result(report.stack, result, setting) for result in report.results]
    else:
        found = [_of_drift(report.stack, drift, setting) for drift in report.drift]
    unknown = [name for name in names if name not in {piece.target for piece in found}]
    if unknown:
        raise UsageError(
            f"the report holds no target {', '.join(map(repr, unknown))}; it holds {', '.join(piece.target for piece in found) or 'none'}"
        )
    return tuple(piece for piece in found if not names or piece.target in names)


def _of_plan(plan: Plan, target: TargetPlan, setting: Setting) -> Piece:
    known = origin_of(plan)
    base_name = "Compared with" if plan.of_revisions else "Base"
    facts = {"Commit": setting.head or known.get("Commit", ""), base_name: setting.base or known.get(base_name, "")}
    if setting.head and plan.git_commit and plan.git_commit != setting.head:
        facts["Planned from"] = plan.git_commit
    refusals = setting.refusals.get(target.name, ())
    head = [
        f"## {title_of(plan)} for stack {code(plan.stack)}",
        *(f"**An apply would be refused:** {prose(refusal)}" for refusal in refusals),
    ]
    quiet = target.is_empty and not refusals and not (plan.of_revisions and target.orphans)
    counts = "no changes" if target.is_empty else summary_words(target.summary)
    render = partial(render_target, target, artefact_url=setting.artefact_url or None, facts=facts)
    return Piece(
        target.name, f"Plan for {plan.stack}, {target.name}", counts, quiet, not refusals, _under(head, render)
    )


def _of_drift(stack: str, report: DriftReport, setting: Setting) -> Piece:
    counts = f"{headline(report)}: {counted(report)}"
    render = partial(render_drift, report, artefact_url=setting.artefact_url or None, facts=_commits(setting))
    quiet = not report.drifted  # what waits to be applied is no reason to call anybody
    text = _under([f"## Drift of stack {code(stack)}"], render)
    # A report that leaves something out is no news of anything being resolved.
    unsure = quiet and report.is_partial
    return Piece(
        report.name,
        f"Drift in {stack}, {report.name}",
        counts,
        quiet,
        not report.drifted and not report.unread,
        text,
        unsure,
    )


def _of_result(stack: str, result: ApplyResult, setting: Setting) -> Piece:
    done = sum(outcome.result is Result.DONE for outcome in result.outcomes)
    counts = f"{done:,} of {plural(len(result.outcomes), 'action')} done"
    render = partial(render_result, result, artefact_url=setting.artefact_url or None, facts=_commits(setting))
    quiet = not result.outcomes
    return Piece(
        result.name,
        f"Apply of {stack}, {result.name}",
        counts,
        quiet,
        result.complete,
        _under([f"## Apply of stack {code(stack)}"], render),
    )


def _commits(setting: Setting) -> dict[str, str]:
    return {"Commit": setting.head, "Base": setting.base}


def _under(head: Sequence[str], render: Callable[..., str]) -> Callable[[int, int], str]:
    """Return what makes the text: the heading, and under it as much of the report as fits."""
    top = "\n\n".join(head) + "\n\n"

    def whole(limit: int, reserve: int) -> str:
        return top + render(limit=limit, reserve=reserve + size(top))

    return whole
