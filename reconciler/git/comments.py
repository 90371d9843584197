"""Posts plans, drift reports and results of applies: as a comment per target, as an issue, and as a commit status.

The text is Markdown that fits the forge's limit. The same findings about the same commits give the same bytes, so that an
unchanged comment is not written again.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from reconciler.apply.events import read_events
from reconciler.drift.codec import describe_output, read_drift
from reconciler.drift.report import DriftReport
from reconciler.errors import PlanRefused, UsageError
from reconciler.forge.client import Forge, Posts, Status, Upserted, marker, upsert
from reconciler.json_format import FormatError
from reconciler.plan.codec import from_json
from reconciler.plan.plan import ApplyResult, Plan, Result, TargetPlan
from reconciler.report.markdown import render_drift, render_result, render_target, settings_lines
from reconciler.report.markdown_layout import code, prose, size
from reconciler.report.words import OVERRIDES, drift_counts, headline, origin_of, plural, summary_words, title_of

SUMMARY_LIMIT = 1_000_000
"""Bytes of a job summary; GitHub allows 1 MiB for a step."""

_EXPECTED = "expected the output of plan --out, drift --format json or apply --format json"


@dataclass(frozen=True, slots=True)
class Report:
    """The content of one file: a plan, drift reports or results of an apply."""

    stack: str
    plan: Plan | None = None
    drift: tuple[DriftReport, ...] = ()
    results: tuple[ApplyResult, ...] = ()


@dataclass(frozen=True, slots=True)
class Origin:
    """The commits of a report as the request has them, the URL of the whole report, and by target why an apply would be refused."""

    head: str = ""
    base: str = ""
    artifact_url: str = ""
    refusals: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class TargetComment:
    """What a report says about one target.

    ``quiet``: nothing to report. ``passed``: the commit status is a success.
    ``partial``: nothing to report, but not everything was read, so that an earlier post stays.
    ``render`` returns the Markdown for a limit in bytes, and the bytes to keep free of it.
    """

    target: str
    title: str
    counts: str
    quiet: bool
    passed: bool
    render: Callable[[int, int], str]
    partial: bool = False


@dataclass(frozen=True, slots=True)
class Destination:
    """Where to post. ``number`` is the request, ``head`` its newest commit as the CI run knows it, ``planned`` the commit that a plan was made from.

    ``current`` says that the report is a plan, which is posted only if it is one of the request's newest commit.
    ``is_ancestor`` returns whether the clone at hand has the first commit among the ancestors of the second.
    """

    issue: bool = False
    always: bool = False
    status: bool = False
    number: int | None = None
    head: str = ""
    planned: str = ""
    current: bool = False
    run_url: str = ""
    is_ancestor: Callable[[str, str], bool] = lambda _ancestor, _commit: False


def read_report(path: Path) -> Report:
    """Return a saved plan, a drift report, or the result in the events of an apply. Raises ``UsageError``."""
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise UsageError(f"{path}: {(error.strerror or 'cannot be read').lower()}; {_EXPECTED}") from None
    except ValueError:
        raise UsageError(f"{path}: not a report (not text); {_EXPECTED}") from None
    try:
        return _parsed(text)
    except (UsageError, PlanRefused) as error:
        sort = describe_output(text)
        raise type(error)(f"{path}: {f'{sort}, which cannot be posted; {_EXPECTED}' if sort else error}") from None
    except FormatError as error:
        raise UsageError(f"{path}: not a valid report: {error}") from None
    except (ValueError, RecursionError):
        raise UsageError(f"{path}: not a report (not JSON); {_EXPECTED}") from None


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


def target_comments(report: Report, names: Sequence[str], origin: Origin) -> tuple[TargetComment, ...]:
    """Return a comment for each of the named targets, of all if none is named. Raises ``UsageError`` for a target that the report lacks."""
    if report.plan is not None:
        plan = report.plan
        found = [_of_plan(plan, target, origin) for target in plan.targets]
    elif report.results:
        found = [_of_result(report.stack, result, origin) for result in report.results]
    else:
        found = [_of_drift(report.stack, drift, origin) for drift in report.drift]
    known = [comment.target for comment in found]
    if unknown := [name for name in names if name not in known]:
        raise UsageError(
            f"no target {', '.join(map(repr, unknown))} in the report; its targets are {', '.join(known) or 'none'}"
        )
    return tuple(comment for comment in found if not names or comment.target in names)


def _of_plan(plan: Plan, target: TargetPlan, origin: Origin) -> TargetComment:
    known = origin_of(plan)
    base_name = "Compared with" if plan.of_revisions else "Base"
    facts = {"Commit": origin.head or known.get("Commit", ""), base_name: origin.base or known.get(base_name, "")}
    if OVERRIDES in known:
        facts[OVERRIDES] = known[OVERRIDES]
    if origin.head and plan.git_commit and plan.git_commit != origin.head:
        facts["Planned from"] = plan.git_commit
    refusals = origin.refusals.get(target.name, ())
    head = [
        f"## {title_of(plan)} for stack {code(plan.stack)}",
        *settings_lines(plan),
        *(f"**An apply would be refused:** {prose(refusal)}" for refusal in refusals),
    ]
    changed = len(plan.base.settings) if plan.base else 0
    quiet = target.is_empty and not changed and not refusals and not (plan.of_revisions and target.orphans)
    counts = "no changes" if target.is_empty else summary_words(target.summary)
    if changed:
        counts = f"{counts}; {plural(changed, 'setting')} changed"
    render = partial(render_target, target, artefact_url=origin.artifact_url or None, facts=facts)
    return TargetComment(
        target.name, f"Plan for {plan.stack}, {target.name}", counts, quiet, not refusals, _below(head, render)
    )


def _of_drift(stack: str, report: DriftReport, origin: Origin) -> TargetComment:
    counts = f"{headline(report)}: {drift_counts(report)}"
    render = partial(render_drift, report, artefact_url=origin.artifact_url or None, facts=_commits(origin))
    quiet = not report.drifted  # pending changes are not reported
    text = _below([f"## Drift of stack {code(stack)}"], render)
    # A partial report does not say that anything is resolved.
    partial_report = quiet and report.is_partial
    return TargetComment(
        report.name,
        f"Drift in {stack}, {report.name}",
        counts,
        quiet,
        not report.drifted and not report.unread,
        text,
        partial_report,
    )


def _of_result(stack: str, result: ApplyResult, origin: Origin) -> TargetComment:
    done = sum(outcome.result is Result.DONE for outcome in result.outcomes)
    counts = f"{done:,} of {plural(len(result.outcomes), 'action')} done"
    render = partial(render_result, result, artefact_url=origin.artifact_url or None, facts=_commits(origin))
    quiet = not result.outcomes
    return TargetComment(
        result.name,
        f"Apply of {stack}, {result.name}",
        counts,
        quiet,
        result.complete,
        _below([f"## Apply of stack {code(stack)}"], render),
    )


def _commits(origin: Origin) -> dict[str, str]:
    return {"Commit": origin.head, "Base": origin.base}


def _below(head: Sequence[str], render: Callable[..., str]) -> Callable[[int, int], str]:
    """Return a renderer of the heading, and below it as much of the report as fits."""
    top = "\n\n".join(head) + "\n\n"

    def render_all(limit: int, reserve: int) -> str:
        return top + render(limit=limit, reserve=reserve + size(top))

    return render_all


def post_report(
    forge: Forge, stack: str, comments: Sequence[TargetComment], to: Destination, say: Callable[[str], None]
) -> None:
    """Post every comment, and say what was done. Raises ``ForgeError``, and ``ForgeRefused`` if the token may not write."""
    head = to.head or to.planned
    if to.issue:
        posts: Posts = forge.issues()
    else:
        number = to.number or forge.request_of(head)
        if number is None:
            say(f"no pull or merge request contains commit {head}; nothing to comment on")
            return
        # After the merge the request is found by its commit, which is not its head.
        if to.number and head and to.current:
            newest = forge.head_of(number)
            if to.head and newest != to.head:
                say(f"skipped: request {number} is at {newest}, and the report is about {to.head}")
                return
            _check_planned(forge, number, newest, to)
            head = newest
        posts = forge.comments(number)
    for comment in comments:
        if comment.partial:
            say(f"{comment.target}: unchanged, because the report is partial")
            continue
        mark = marker(stack, comment.target)
        body = comment.render(posts.limit, size(mark) + 1)
        done, post = upsert(posts, mark, comment.title, body, quiet=comment.quiet, always=to.always)
        what = "" if done is Upserted.NOTHING else "issue " if to.issue else "comment "
        say(f"{comment.target}: {what}{done.value}{f': {post.url}' if post else ''}")
    if to.status and head:
        for comment in comments:
            status = Status(
                "success" if comment.passed else "failure",
                f"ivs-reconciler/{stack}/{comment.target}",
                comment.counts,
                to.run_url,
            )
            say(f"{comment.target}: status {'set' if forge.set_status(head, status) else 'unchanged'}")


def _check_planned(forge: Forge, number: int, newest: str, to: Destination) -> None:
    """Raise ``UsageError`` for a plan of something else: neither of the request's newest commit, nor of a merge that contains it."""
    if to.planned in ("", newest) or to.is_ancestor(newest, to.planned) or newest in forge.parents_of(to.planned):
        return
    raise UsageError(
        f"the plan was made from commit {to.planned}, which does not contain {newest}, the newest commit of request {number}; "
        "nothing was posted: check out the request before plan "
        "(events such as pull_request_target and issue_comment check out the default branch)"
    )


def append_to_summary(comments: Sequence[TargetComment], path: str) -> str:
    """Append the text to a job summary, and return what is left to print: all of it if the summary cannot be written."""
    text = "\n".join(
        comment.render(SUMMARY_LIMIT // max(len(comments), 1), 0).rstrip() + "\n"
        for comment in comments
        if not comment.quiet
    )
    if not path:
        return text
    try:
        with Path(path).open("a", encoding="utf-8") as stream:
            stream.write(text)
    except OSError:
        return text
    return ""
