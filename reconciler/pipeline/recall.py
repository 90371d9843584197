"""What this machine knows of the last apply of a target, held against what is there now: what is expected to stand, and where it ended.

Nothing is decided from it but whether to believe a list that has become empty; everything else is explanation.
"""

from __future__ import annotations

from pathlib import Path

from reconciler.model.address import Address, KindName
from reconciler.model.kinds import KINDS, STREAM_KEY
from reconciler.model.tags import ID, STACK
from reconciler.model.target import Project
from reconciler.pipeline.journal import last_run
from reconciler.pipeline.record import recorded
from reconciler.pipeline.survey import Survey
from reconciler.plan.actions import Verb

_MOST = 8


def expected(project: Project, survey: Survey) -> frozenset[Address]:
    """Return the addresses that stood here after the last apply from here, one that did not come to its end included.

    They are held against what a plan would make anew. Where that is nothing, none are returned: the record of 5,000 channels takes 30 ms to read.
    """
    if not any(action.verb is Verb.CREATE for action in survey.plan.actions):
        return frozenset()
    root = Path(project.root)
    found = recorded(root, project.stack, survey.target.name, survey.live) or frozenset()
    last = last_run(root, survey.target.name)
    if last is None or last.ended or last.account not in ("", survey.live.account_id):
        return found
    return (found | last.made) - last.removed


def explained(project: Project, survey: Survey) -> tuple[str, ...]:
    """Say where the last apply of a target ended, when it did not come to its end; nothing otherwise."""
    name = survey.target.name
    last = last_run(Path(project.root), name)
    if last is None or last.ended:
        return ()
    if last.running:
        return (
            f"{name}: an apply from here, started {last.started}, is still running as process {last.pid}; what it makes meanwhile is not made twice",
        )
    head = f"{name}: the last apply, started {last.started}, did not come to its end"
    if not last.under_way:
        return (f"{head}; it was between two steps",)
    said = [_said(address, operation, survey) for address, operation in list(last.under_way)[:_MOST]]
    more = len(last.under_way) - len(said)
    return (f"{head}; it was in the middle of {'; '.join(said)}{f'; and {more} more' if more > 0 else ''}",)


def _said(address: Address, operation: str, survey: Survey) -> str:
    if operation == STREAM_KEY.get:
        return f"handing over the value of the stream key of {Address(KindName.CHANNEL, address.id)}"
    if operation in (STREAM_KEY.create, STREAM_KEY.delete):
        address = Address(
            KindName.STREAM_KEY, address.id
        )  # the channel's own steps replace its key when a broadcast is ended
    arns = _arns(address, survey)
    if operation != KINDS[address.kind].create:
        return f"{operation} for {address}" + ("" if arns else ", which is not there")
    if not arns:
        return f"{operation} for {address}, which is not there"
    desired = survey.desired.resources.get(address)
    unheard = address.kind is KindName.STREAM_KEY and desired is not None and desired.sink is None
    return f"{operation} for {address}, which is there as {' and '.join(arns)}" + (
        " and has a value that its encoder needs" if unheard else ""
    )


def _arns(address: Address, survey: Survey) -> list[str]:
    stack = survey.desired.stack
    return [
        resource.arn
        for resource in survey.live.of(address.kind)
        if resource.tags.get(STACK) == stack and resource.tags.get(ID) == address.id
    ]
