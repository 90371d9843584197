"""Collects what other systems need to know of the resources of the spec: ``TargetOutputs`` from a survey.

Before an apply that takes no other call than the survey's; after one, what it changed is read again.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace

from reconciler.aws.reader import ReadRequest, read_again
from reconciler.errors import AwsError
from reconciler.model.address import DELIVERED, Address, KindName
from reconciler.model.kinds import CHILD_KINDS, KINDS, parent_of
from reconciler.model.observed import TargetOutputs
from reconciler.model.resource import LiveResource
from reconciler.model.target import Store
from reconciler.plan.decide import managed_resources
from reconciler.plan.plan import Action, ApplyResult, Outcome, PlanOptions, Result
from reconciler.plan.selection import included
from reconciler.workflow.survey import Survey

_STORED = re.compile(
    rf"({Store.SECRETS_MANAGER.value}|{Store.PARAMETER_STORE.value})(?:\.json)?:([A-Za-z0-9/_+=.@:-]+)"
)
"""The tag value that records a publication; anything else was not written by an apply."""


def outputs_of(survey: Survey, globs: Sequence[str] = ()) -> TargetOutputs:
    """Return the outputs of the resources of one target's spec that match one of the globs; all without globs.

    Raises ``AwsError`` if a kind of theirs could not be read: whether they exist is unknown.
    """
    options = PlanOptions(only=tuple(globs))
    addresses = [address for address in sorted(survey.desired.resources) if included(options, address)]
    unread = sorted({address.kind for address in addresses} & survey.live.unreadable.keys())
    if unread:
        raise AwsError(
            "\n".join(
                f"{survey.target.name}: {KINDS[kind].titles} could not be read: {survey.live.unreadable[kind]}"
                for kind in unread
            )
        )
    found = managed_resources(survey.desired, survey.live)
    return TargetOutputs(
        survey.target.name,
        survey.live.account_id,
        survey.live.region,
        {address: _values(found[address], survey) for address in addresses if address in found},
        tuple(address for address in addresses if address not in found),
    )


def survey_after(survey: Survey, result: ApplyResult) -> Survey:
    """Return the survey with what an apply touched read again, in the same connection. Raises ``AwsError``."""
    touched: dict[KindName, set[str]] = {}
    keys: set[Address] = set()
    arns: dict[Address, set[str]] = {}
    done = {one.address for one in result.outcomes if one.result in (Result.DONE, Result.FAILED)}
    settled: tuple[Action | Outcome, ...] = (*survey.plan.actions, *result.outcomes)
    for one in settled:
        if one.address not in done:
            continue
        found = {one.arn} if one.arn else set()
        arns.setdefault(one.address, set()).update(found)
        if one.address.kind in CHILD_KINDS:
            keys.add(one.address)
        else:
            touched.setdefault(one.address.kind, set()).update(found)
    if not touched and not keys:
        return survey
    for address, resource in survey.live.claims(survey.desired.stack):
        arns.setdefault(address, set()).add(resource.arn)
    channels = {arn for key in keys for arn in arns.get(parent_of(key), ())}
    fresh = read_again(
        survey.connection.gateway,
        ReadRequest(survey.desired.stack, ignore_tags=survey.desired.ignore_tags),
        {kind: frozenset(some) for kind, some in touched.items()},
        sorted(channels),
    )
    survey.connection.rest()
    resources = {}
    for kind in KINDS:
        old = (
            one
            for one in survey.live.of(kind)
            if one.arn not in touched.get(kind, ()) and one.properties.get("channelArn") not in channels
        )
        resources[kind] = tuple(sorted((*old, *fresh.get(kind, ())), key=lambda one: one.arn))
    return replace(survey, live=replace(survey.live, resources=resources))


def _values(resource: LiveResource, survey: Survey) -> dict[str, str]:
    values = {"arn": resource.arn, "name": resource.name, **resource.outputs, "storedIn": _stored_in(resource, survey)}
    return {name: value for name, value in values.items() if value}


def _stored_in(resource: LiveResource, survey: Survey) -> str:
    """Return the ARN of the secret or parameter that a stream key's value was published to; empty if it was not.

    Secrets Manager accepts the ARN of a secret without the suffix that it adds to a name (API reference, ``GetSecretValue``).
    """
    recorded = _STORED.fullmatch(resource.tags.get(DELIVERED, ""))
    if recorded is None or recorded[2].startswith("arn:"):
        return recorded[2] if recorded else ""
    place = f"{survey.live.region}:{survey.live.account_id}"
    if recorded[1] == Store.SECRETS_MANAGER.value:
        return f"arn:aws:secretsmanager:{place}:secret:{recorded[2]}"
    return f"arn:aws:ssm:{place}:parameter/{recorded[2].removeprefix('/')}"
