"""Allowances that a reviewer grants with a label of the pull or merge request, without editing a workflow.

``ivs-reconciler-allow: deletes 25`` is ``--allow-deletes 25``; ``updates N`` and ``prune`` are the others that can be granted so.
Only the forge is asked, never a file, a commit or its message, which are the author's: a squash takes messages over, and the
default text of a merge may be the description of the request. A label counts only if a person other than the author set it,
and not after the merge. Setting one needs a role in the repository: triage on GitHub, on GitLab one that may edit the request.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from reconciler.forge.ci import CiRun
from reconciler.forge.client import Forge, Request, SetLabel
from reconciler.git.comments import contains
from reconciler.plan.plan import PlanOptions
from reconciler.terminal import sanitize

PREFIX = "ivs-reconciler-allow:"
_MOST_REQUESTS = 10
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
        return PlanOptions(), (f"no labels were read: commit {commit} is neither of a request nor a merged one",)
    options, notes = PlanOptions(), []
    for label in request.labels:
        shown = f"label {sanitize(label.name)!r} of request {request.number}"
        grant, reason = _grant(label), _why_ignored(label, request)
        if grant is None:
            reason = "it is none of deletes N, updates N and prune"
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
    for number in forge.requests_of(commit)[:_MOST_REQUESTS]:
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
