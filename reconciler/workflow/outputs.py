"""Collects what other systems need to know of the resources of the spec: ``TargetOutputs`` from a survey, without another call."""

from __future__ import annotations

import re
from collections.abc import Sequence

from reconciler.errors import AwsError
from reconciler.model.address import DELIVERED
from reconciler.model.kinds import KINDS
from reconciler.model.observed import TargetOutputs
from reconciler.model.resource import LiveResource
from reconciler.model.target import Store
from reconciler.plan.decide import managed_resources
from reconciler.plan.plan import PlanOptions
from reconciler.plan.selection import included
from reconciler.workflow.survey import Survey

_STORED = re.compile(rf"({Store.SECRETS_MANAGER.value}|{Store.PARAMETER_STORE.value}):([A-Za-z0-9/_+=.@:-]+)")
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
