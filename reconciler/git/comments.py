"""Posts plans, drift reports and results of applies on a forge, and reads the allowances that a reviewer grants there with a label.

A post is one comment or one per target, an issue, or a commit status. Its text is Markdown that fits the forge's limit. The same findings about
the same commits give the same bytes, so that an unchanged comment is not written again.

The label ``ivs-reconciler-allow: deletes 25`` is ``--allow-deletes 25``; ``updates N`` and ``prune`` are the others that can be granted so.
Only the forge is asked, never a file, a commit or its message, which are the author's: a squash takes messages over, and the
default text of a merge may be the description of the request. A label counts only if a person other than the author set it,
and not after the merge. Setting one needs a role in the repository: triage on GitHub, on GitLab one that may edit the request.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from reconciler.drift.report import DriftReport
from reconciler.errors import UsageError
from reconciler.forge.ci import CiRun
from reconciler.forge.client import (
    Forge,
    Posts,
    Request,
    SetLabel,
    Status,
    Upserted,
    marker,
    target_mark,
    targets_in,
    upsert,
)
from reconciler.plan.plan import ApplyResult, FailedTarget, Plan, PlanOptions, Result, TargetPlan
from reconciler.report.markdown import render_drift, render_results, render_targets, settings_lines
from reconciler.report.markdown_layout import code, overview_lines, prose, size
from reconciler.report.words import (
    OVERRIDES,
    SHARD,
    drift_counts,
    headline,
    join_words,
    origin_of,
    plan_states,
    plural,
    shards_words,
    summary_words,
    title_of,
)
from reconciler.spec.problems import target_hint
from reconciler.terminal import sanitize
from reconciler.workflow.reports import Report

SUMMARY_LIMIT = 1_000_000
"""Bytes of a job summary; GitHub allows 1 MiB for a step."""


@dataclass(frozen=True, slots=True)
class Origin:
    """The commits of a report as the request has them, the URL of the whole report, and by target why an apply would be refused."""

    head: str = ""
    base: str = ""
    artifact_url: str = ""
    refusals: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Comment:
    """What a report says about one target, or about all of its targets.

    ``quiet``: nothing to report.
    ``partial``: nothing to report, but not everything was read, so that an earlier post stays.
    ``render`` returns the Markdown for a limit in bytes, and the bytes to keep free of it.
    """

    targets: tuple[str, ...]
    title: str
    quiet: bool
    render: Callable[[int, int], str]
    partial: bool = False


@dataclass(frozen=True, slots=True)
class Verdict:
    """The commit status of a target: its counts, and whether it is a success."""

    target: str
    counts: str
    passed: bool


@dataclass(frozen=True, slots=True)
class Destination:
    """Where to post. ``number`` is the request, ``head`` its newest commit as the CI run knows it, ``planned`` the commit that a plan was made from.

    ``current`` says that the report is a plan, which is posted only if it is one of the request's newest commit.
    ``is_ancestor`` returns whether the clone at hand has the first commit among the ancestors of the second.
    ``whole`` says that the report has all targets of the project, so that posts about some of them, and others, are outdated.
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
    whole: bool = False


def comments_of(
    report: Report, names: Sequence[str], origin: Origin, *, per_target: bool
) -> tuple[tuple[Comment, ...], tuple[Verdict, ...]]:
    """Return one comment for all of the named targets, or one for each, and the status of each; no name means all targets.

    A comment for all names the targets that could not be read. Raises ``UsageError`` for a target that the report lacks.
    """
    parts = report.plan.targets if report.plan else report.results or report.drift
    failed = {one.name: one.message for one in report.plan.failed} if report.plan else report.failed
    known = [*(part.name for part in parts), *failed]
    if unknown := [name for name in names if name not in known]:
        hint = target_hint(unknown[0], known, "its")
        raise UsageError(f"no target {', '.join(map(repr, unknown))} in the report; {hint}")
    failed = {name: message for name, message in failed.items() if not names or name in names}
    chosen = [part.name for part in parts if not names or part.name in names]
    groups = [(name,) for name in chosen] if per_target else [tuple(chosen)] if chosen else []
    comments: list[Comment] = []
    verdicts: list[Verdict] = []
    missed = {} if per_target else failed
    if report.plan is not None:
        plans = {target.name: target for target in report.plan.targets}
        comments = [_of_plan(report.plan, [plans[name] for name in group], origin, missed) for group in groups]
        verdicts = [_plan_verdict(report.plan, plans[name], origin) for name in chosen]
    elif report.results:
        results = {result.name: result for result in report.results}
        comments = [_of_results(report.stack, [results[name] for name in group], origin, missed) for group in groups]
        verdicts = [_result_verdict(results[name]) for name in chosen]
    else:
        drifts = {drift.name: drift for drift in report.drift}
        comments = [_of_drift(report, [drifts[name] for name in group], origin, missed) for group in groups]
        verdicts = [_drift_verdict(drifts[name]) for name in chosen]
    verdicts += [Verdict(name, "could not be read", passed=False) for name in failed]
    return tuple(comments), tuple(verdicts)


def _of_plan(plan: Plan, targets: Sequence[TargetPlan], origin: Origin, failed: Mapping[str, str]) -> Comment:
    known = origin_of(plan)
    base_name = "Compared with" if plan.of_revisions else "Base"
    facts = {"Commit": origin.head or known.get("Commit", ""), base_name: known.get(base_name) or origin.base}
    facts.update({name: known[name] for name in (SHARD, OVERRIDES) if name in known})
    if origin.head and plan.git_commit and plan.git_commit != origin.head:
        facts["Planned from"] = plan.git_commit
    refused: dict[str, list[str]] = {}
    for target in targets:
        for refusal in origin.refusals.get(target.name, ()):
            refused.setdefault(refusal, []).append(target.name)
    missed = tuple(FailedTarget(name, message) for name, message in failed.items())
    shown = plan._replace(targets=tuple(targets), failed=missed)
    head = [f"## {title_of(plan)} for stack {code(plan.stack)}", *settings_lines(plan.base)]
    head += overview_lines(plan_states(shown), limited=True)
    for refusal, names in refused.items():
        which = "" if len(targets) == 1 else f" of {join_words(map(code, names))}"
        head.append(f"**An apply{which} would be refused:** {prose(refusal)}")
    quiet = (
        not failed
        and not refused
        and not any(target.actions or (plan.of_revisions and target.orphans) for target in targets)
        and not _changed_settings(plan)
    )
    render = partial(render_targets, *targets, artefact_url=origin.artifact_url or None, facts=facts)
    return Comment(_names(targets), f"Plan for {_named(plan.stack, targets)}", quiet, _below(head, render))


def _changed_settings(plan: Plan) -> int:
    return len(plan.base.settings) if plan.base else 0


def _plan_verdict(plan: Plan, target: TargetPlan, origin: Origin) -> Verdict:
    counts = "no changes" if not target.actions else summary_words(target.summary)
    if changed := _changed_settings(plan):
        counts = f"{counts}; {plural(changed, 'setting')} changed"
    return Verdict(target.name, counts, not origin.refusals.get(target.name))


def _of_drift(whole: Report, reports: Sequence[DriftReport], origin: Origin, failed: Mapping[str, str]) -> Comment:
    stack = whole.stack
    quiet = not any(report.drifted for report in reports)  # pending changes are not reported
    facts = {**_commits(origin), **({SHARD: shards_words(whole.shards)} if whole.shards else {})}
    render = partial(render_drift, *reports, artefact_url=origin.artifact_url or None, facts=facts, failed=failed)
    text = _below([f"## Drift of stack {code(stack)}"], render)
    # A partial report does not say that anything is resolved.
    incomplete = quiet and (bool(failed) or any(report.is_partial for report in reports))
    return Comment(_names(reports), f"Drift in {_named(stack, reports)}", quiet, text, incomplete)


def _drift_verdict(report: DriftReport) -> Verdict:
    return Verdict(report.name, f"{headline(report)}: {drift_counts(report)}", not report.drifted and not report.unread)


def _of_results(stack: str, results: Sequence[ApplyResult], origin: Origin, failed: Mapping[str, str]) -> Comment:
    url = origin.artifact_url or None
    render = partial(render_results, *results, artefact_url=url, facts=_commits(origin), failed=failed)
    quiet = not failed and not any(result.outcomes for result in results)
    text = _below([f"## Apply of stack {code(stack)}"], render)
    return Comment(_names(results), f"Apply of {_named(stack, results)}", quiet, text)


def _result_verdict(result: ApplyResult) -> Verdict:
    done = sum(outcome.result is Result.DONE for outcome in result.outcomes)
    return Verdict(result.name, f"{done:,} of {plural(len(result.outcomes), 'action')} done", result.complete)


def _names(parts: Sequence[TargetPlan | DriftReport | ApplyResult]) -> tuple[str, ...]:
    return tuple(part.name for part in parts)


def _named(stack: str, parts: Sequence[TargetPlan | DriftReport | ApplyResult]) -> str:
    return f"{stack}, {parts[0].name}" if len(parts) == 1 else stack


def _commits(origin: Origin) -> dict[str, str]:
    return {"Commit": origin.head, "Base": origin.base}


def _below(head: Sequence[str], render: Callable[..., str]) -> Callable[[int, int], str]:
    """Return a renderer of the heading, and below it as much of the report as fits."""
    top = "\n\n".join(head) + "\n\n"

    def render_all(limit: int, reserve: int) -> str:
        return top + render(limit=limit, reserve=reserve + size(top))

    return render_all


def post_report(
    forge: Forge,
    stack: str,
    comments: Sequence[Comment],
    verdicts: Sequence[Verdict],
    to: Destination,
    say: Callable[[str], None],
) -> None:
    """Post every comment and status, and say what was done. Raises ``ForgeError``, and ``ForgeRefused`` if the token may not write."""
    head = to.head or to.planned
    if to.issue:
        posts: Posts = forge.issues()
    else:
        number = to.number or next(iter(forge.requests_of(head)), None)
        if number is None:
            say(f"no pull or merge request contains commit {head}; nothing to comment on")
            return
        # After the merge the request is found by its commit, which is not its head.
        if to.number and head and to.current:
            newest = forge.head_of(number)
            if to.head and newest != to.head:
                say(
                    f"skipped: request {number} is at {newest}, and the report is about {to.head}; plan the newest commit"
                )
                return
            _check_planned(forge, number, newest, to)
            head = newest
        posts = forge.comments(number)
    outdated = (lambda _: False) if to.issue else _outdated(stack, comments, whole=to.whole)
    for comment in comments:
        shown = comment.targets[0] if len(comment.targets) == 1 else stack
        if comment.partial:
            say(f"{shown}: unchanged, because the report is partial")
            continue
        mark = marker(stack, *comment.targets)
        body = comment.render(posts.limit, size(mark) + 1)
        done, post = upsert(posts, mark, comment.title, body, quiet=comment.quiet, always=to.always, outdated=outdated)
        what = "" if done is Upserted.NOTHING else "issue " if to.issue else "comment "
        say(f"{shown}: {what}{done.value}{f': {post.url}' if post else ''}")
    if to.status and head:
        for verdict in verdicts:
            status = Status(
                "success" if verdict.passed else "failure",
                f"ivs-reconciler/{stack}/{verdict.target}",
                verdict.counts,
                to.run_url,
            )
            say(f"{verdict.target}: status {'set' if forge.set_status(head, status) else 'unchanged'}")


def _outdated(stack: str, comments: Sequence[Comment], *, whole: bool) -> Callable[[str], bool]:
    """Return a predicate for markers: whether a post is about another set of targets and is replaced by these comments.

    A post of another run about further targets stays, unless the report has all targets of the project.
    """
    if any(comment.partial for comment in comments):
        return lambda _: False
    wanted = {marker(stack, *comment.targets) for comment in comments}
    covered = {target_mark(name) for comment in comments for name in comment.targets}

    def is_outdated(mark: str) -> bool:
        about = targets_in(mark, stack)
        return mark not in wanted and bool(about) and (about <= covered or (whole and bool(about & covered)))

    return is_outdated


def _check_planned(forge: Forge, number: int, newest: str, to: Destination) -> None:
    """Raise ``UsageError`` for a plan of something else: neither of the request's newest commit, nor of a merge that contains it."""
    if not to.planned or contains(forge, to.planned, newest, to.is_ancestor):
        return
    raise UsageError(
        f"the plan was made from commit {to.planned}, which does not contain {newest}, the newest commit of request {number}; "
        "nothing was posted: check out the request before plan "
        "(events such as pull_request_target and issue_comment check out the default branch)"
    )


def contains(forge: Forge, commit: str, newest: str, is_ancestor: Callable[[str, str], bool]) -> bool:
    """Return whether a commit is the newest one of a request, or a merge of it, as the clone or the forge knows it."""
    return newest == commit or is_ancestor(newest, commit) or newest in forge.parents_of(commit)


def append_to_summary(comments: Sequence[Comment], path: str) -> str:
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


PREFIX = "ivs-reconciler-allow:"
_MAX_REQUESTS = 10
_GRANT = re.compile(
    rf"{PREFIX}:?\s*(?:(?P<prune>prune)|(?P<what>deletes|updates)\s+(?P<count>[1-9][0-9]{{0,8}}))", re.IGNORECASE
)


def granted_by_labels(
    forge: Forge, ci: CiRun, commit: str, is_ancestor: Callable[[str, str], bool]
) -> tuple[PlanOptions, tuple[str, ...]]:
    """Return what the labels of a commit's request allow, and a note for each label and for a request that was not found.

    In a run for a request, it is that one, if the commit contains its newest commit; in any other run, the one that was
    merged as this very commit. Raises ``ForgeError``.
    """
    request = _request(forge, ci, commit, is_ancestor)
    if request is None:
        return PlanOptions(), (
            f"no labels were read: commit {commit} belongs to no request, and was not merged by one",
        )
    options, notes = PlanOptions(), []
    for label in request.labels:
        shown = f"label {sanitize(label.name)!r} of request {request.number}"
        grant, reason = _grant(label), _why_ignored(label, request)
        if grant is None:
            reason = "it is not deletes N, updates N or prune"
        if grant is None or reason:
            notes.append(f"{shown} is ignored: {reason}")
            continue
        options = options.allowing(grant)
        notes.append(f"{' '.join(_words(grant))} by {shown}, set by {sanitize(label.by)}")
    return options, tuple(notes)


def _request(forge: Forge, ci: CiRun, commit: str, is_ancestor: Callable[[str, str], bool]) -> Request | None:
    # A run for a request knows its base. Another may know a number too, of a request that it is not about.
    if ci.number is not None and ci.base:
        request = forge.request(ci.number, PREFIX)
        return request if contains(forge, commit, request.head, is_ancestor) else None
    # A later request, such as one for another branch, may contain the commit too.
    for number in forge.requests_of(commit)[:_MAX_REQUESTS]:
        request = forge.request(number, PREFIX)
        if commit in request.merged_as:
            return request
    return None


def _grant(label: SetLabel) -> PlanOptions | None:
    found = _GRANT.fullmatch(label.name.strip())
    if found is None:
        return None
    if found["prune"]:
        return PlanOptions(prune=True)
    count = int(found["count"])
    return PlanOptions(allow_deletes=count) if found["what"].lower() == "deletes" else PlanOptions(allow_updates=count)


def _why_ignored(label: SetLabel, request: Request) -> str:
    if not label.by_person:
        return f"no person set it ({sanitize(label.by) or 'unknown'})"
    if label.by == request.author:
        return f"{sanitize(label.by)}, who opened the request, set it"
    if request.merged_at is not None and (label.at is None or label.at > request.merged_at):
        return "it was set after the merge"
    return ""


def _words(grant: PlanOptions) -> tuple[str, ...]:
    return ("--prune",) if grant.prune else grant.allowances
