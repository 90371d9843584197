"""What a comment says: one piece of Markdown for each target of a plan, a drift report or an apply's result, made to fit where it goes.

Comes in: a report, what it was made of, and where its whole is. Goes out: text; nothing here knows a forge.
The same findings about the same commits give the same text, to the byte, so that a comment which is right is left alone.

Putting what was found where people look: a comment for each target, or an issue, and a status on the commit.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from reconciler.drift.codec import read_drift, read_events, sort_of
from reconciler.drift.report import DriftReport
from reconciler.errors import PlanRefused, UsageError
from reconciler.forge.client import Board, Forge, Placed, Status, marker, place
from reconciler.plan.codec import DamagedPlanError, from_json
from reconciler.plan.plan import ApplyResult, Plan, Result, TargetPlan
from reconciler.report.markdown import render_drift, render_result, render_target
from reconciler.report.markdown_layout import code, prose, size
from reconciler.report.words import counted, headline, origin_of, plural, summary_words, title_of


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


SUMMARY_LIMIT = 1_000_000
"""Bytes of a job summary; GitHub takes 1 MiB of one step."""


@dataclass(frozen=True, slots=True)
class Wish:
    """Where to put it. ``number`` is the request, if it is known; ``head`` the commit that was looked at, if it is known.

    ``current`` says that findings about any other commit than the request's newest are of no use.
    """

    issue: bool = False
    always: bool = False
    status: bool = False
    number: int | None = None
    head: str = ""
    current: bool = False
    run_url: str = ""


def post(forge: Forge, stack: str, said: Sequence[Piece], wish: Wish, tell: Callable[[str], None]) -> None:
    """Put every piece in its place and tell what was done. Raises ``ForgeError``, and ``ForgeRefused`` where writing is not allowed."""
    board = forge.issues() if wish.issue else _comments(forge, wish, tell)
    if board is None:
        return
    for piece in said:
        if piece.unsure:
            tell(f"{piece.target}: left as it is, because not everything was looked at")
            continue
        mark = marker(stack, piece.target)
        done, entry = place(
            board, mark, piece.title, piece.whole(board.limit, size(mark) + 1), quiet=piece.quiet, always=wish.always
        )
        thing = "issue" if wish.issue else "comment"
        tell(
            f"{piece.target}: {thing} {done.value}{f': {entry.url}' if entry else ''}"
            if done is not Placed.NOTHING
            else f"{piece.target}: {done.value}"
        )
    if wish.status and wish.head:
        for piece in said:
            status = Status(
                "success" if piece.good else "failure",
                f"ivs-reconciler/{stack}/{piece.target}",
                piece.counts,
                wish.run_url,
            )
            tell(f"{piece.target}: status {'set' if forge.set_status(wish.head, status) else 'unchanged'}")


def summarise(said: Sequence[Piece], path: str) -> str:
    """Add the text to a job's summary, and return what is left to be printed: all of it where there is no summary."""
    text = "\n".join(
        piece.whole(SUMMARY_LIMIT // max(len(said), 1), 0).rstrip() + "\n" for piece in said if not piece.quiet
    )
    if not path:
        return text
    try:
        with Path(path).open("a", encoding="utf-8") as stream:
            stream.write(text)
    except OSError:
        return text
    return ""


def _comments(forge: Forge, wish: Wish, tell: Callable[[str], None]) -> Board | None:
    number = wish.number
    if number is None:
        number = forge.request_of(wish.head)
        if number is None:
            tell(f"no pull or merge request brought in {wish.head}, so there is nothing to comment on")
            return None
    elif wish.current and wish.head and (newest := forge.head_of(number)) != wish.head:
        tell(
            f"number {number} is at {newest} by now, and this is about {wish.head}: left to the run for the newer commit"
        )
        return None
    return forge.comments(number)
