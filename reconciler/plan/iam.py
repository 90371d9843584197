"""Writes the least-privilege IAM policy for planning or applying a spec.

Source: service authorization reference, and the security page of the IVS user guide. Creates with tags need ``ivs:TagResource`` too.
``CreateChannel``, ``DeleteChannel`` and ``ListStreamKeys`` are checked against channels and stream keys; some operations take no resource.
The reference does not list failover slates yet; they are assumed to behave like ad configurations.
A customer managed key needs permissions of its own; a secret's ARN ends with six characters chosen by AWS.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from reconciler.errors import UsageError
from reconciler.model.address import STACK, KindName
from reconciler.model.kinds import KINDS, LISTED, SERVICES, TAG, UNTAG, Kind
from reconciler.model.kinds.ivs import CHANNEL, IVS, LIST_STREAMS, RECORDING_CONFIGURATION, STOP_STREAM, STREAM_KEY
from reconciler.model.resource import DesiredState
from reconciler.model.target import S3Lock, S3State, Sink, Store, Target
from reconciler.plan.plan import PlanOptions
from reconciler.plan.selection import kinds_to_read
from reconciler.terminal import same_start

_MAX_NAMES = 8
"""How many names are listed one by one; more are allowed by their common prefix, since a policy has a size limit."""

At = tuple[str, str, Sink]
"""A region, an account and a sink there."""


def sink_statements(found: Sequence[At]) -> Iterator[dict[str, object]]:
    """Yield the statements that writing to these sinks needs."""
    secrets = [at for at in found if at[2].store is Store.SECRETS_MANAGER]
    if secrets:
        named = _by_name((place, name) for place, name in map(_secret, secrets))
        yield _allow("WriteSecrets", ["secretsmanager:PutSecretValue"], named)
        made = [at for at in secrets if not at[2].name.startswith("arn:")]
        if made:
            yield _allow("CreateSecrets", ["secretsmanager:CreateSecret"], _by_name(map(_secret, made)))
    parameters = [at for at in found if at[2].store is Store.PARAMETER_STORE]
    if parameters:
        yield _allow("WriteParameters", ["ssm:PutParameter"], _by_name(map(_parameter, parameters)))
    keys = sorted({arn for at in found if (arn := _key(at))})
    if keys:
        yield _allow("EncryptValues", ["kms:Decrypt", "kms:Encrypt", "kms:GenerateDataKey"], keys)


def _secret(at: At) -> tuple[str, str]:
    region, account, sink = at
    if sink.name.startswith("arn:"):
        place, _, name = sink.name.partition(":secret:")
        return f"{place}:secret:", name
    return f"arn:aws:secretsmanager:{region}:{account}:secret:", f"{sink.name}-??????"


def _parameter(at: At) -> tuple[str, str]:
    region, account, sink = at
    return f"arn:aws:ssm:{region}:{account}:parameter/", sink.name.lstrip("/")


def _key(at: At) -> str:
    """Return the ARN of a sink's key; an alias does not contain the ARN, so it allows all keys."""
    region, account, sink = at
    if not sink.kms_key or sink.kms_key.startswith("arn:"):
        return sink.kms_key
    identifier = "*" if sink.kms_key.startswith("alias/") else sink.kms_key
    return f"arn:aws:kms:{region}:{account}:key/{identifier}"


def _by_name(found: Iterable[tuple[str, str]]) -> list[str]:
    places: dict[str, set[str]] = {}
    for place, name in found:
        places.setdefault(place, set()).add(name)
    return sorted(
        place + name
        for place, names in places.items()
        for name in (names if len(names) <= _MAX_NAMES else [_common_prefix(names) + "*"])
    )


def _common_prefix(names: set[str]) -> str:
    first = min(names)
    return first[: same_start(first, max(names))]


MAX_CHARACTERS = 6_144
"""Maximum size of a managed policy in characters without white space (IAM quotas)."""

Statement: TypeAlias = dict[str, object]
Policy: TypeAlias = dict[str, object]

_PREFIXES = tuple(f"{service.prefix}:" for service in SERVICES.values())
_OWNED = f"aws:ResourceTag/{STACK}"
_OWNING = f"aws:RequestTag/{STACK}"


@dataclass(frozen=True, slots=True)
class PolicyOptions:
    """What the policy allows in addition.

    ``prune``: deleting kinds that the spec does not use; ``stop_live``: ending streams; ``blame``: reading CloudTrail;
    ``parameters``: names of parameters for outputs, with placeholders;
    ``take_over``: tagging resources of these stacks; ``state``: records of applies in S3.
    """

    prune: bool = False
    stop_live: bool = False
    blame: bool = False
    parameters: tuple[str, ...] = ()
    take_over: tuple[str, ...] = ()
    state: S3State | None = None


@dataclass(frozen=True, slots=True)
class PolicyTarget:
    """A target and its desired state."""

    target: Target
    desired: DesiredState


def plan_policy(places: Sequence[PolicyTarget], options: PolicyOptions) -> Policy:
    """Return what ``plan`` and ``drift`` need. Raises ``UsageError`` for a policy larger than IAM allows."""
    return _policy(_reading(places, options))


def apply_policy(places: Sequence[PolicyTarget], options: PolicyOptions) -> Policy:
    """Return what ``apply`` needs, including what ``plan`` needs. Raises ``UsageError`` for a policy larger than IAM allows."""
    changing = _changing(places, options)
    regions = sorted({place.target.region for place in places})
    return _policy((*_reading(places, options), *(_only_in(regions, statement) for statement in changing)))


def _policy(statements: Iterable[Statement]) -> Policy:
    policy: Policy = {"Version": "2012-10-17", "Statement": list(statements)}
    size = len("".join(json.dumps(policy, separators=(",", ":")).split()))
    if size > MAX_CHARACTERS:
        raise UsageError(
            f"the policy has {size:,} characters, and IAM allows {MAX_CHARACTERS:,}; select fewer targets with --target"
        )
    return policy


def _in_regions(places: Sequence[PolicyTarget]) -> dict[str, object]:
    """Return the condition that a call is made in the region of one of these targets."""
    return {"StringEquals": {"aws:RequestedRegion": sorted({place.target.region for place in places})}}


def _only_in(regions: Sequence[str], statement: Statement) -> Statement:
    """Return the statement limited to several regions, if its resources do not have the region in their ARNs."""
    actions = statement["Action"]
    if len(regions) == 1 or not isinstance(actions, list) or not actions[0].startswith(_PREFIXES):
        return statement
    condition = statement.get("Condition")
    before = condition if isinstance(condition, Mapping) else {}
    return {
        **statement,
        "Condition": {
            **before,
            "StringEquals": {**before.get("StringEquals", {}), "aws:RequestedRegion": list(regions)},
        },
    }


def _reading(places: Sequence[PolicyTarget], options: PolicyOptions) -> Iterator[Statement]:
    regions = _in_regions(places)
    needed = [
        kinds_to_read(place.desired.kinds, PlanOptions(prune=options.prune or place.target.prune)) for place in places
    ]
    kinds = [kind for kind in LISTED.values() if any(kind.name in some for some in needed)]
    reads = _actions(kinds, lambda kind: (kind.list, _full_read(kind)))
    if CHANNEL in kinds:
        reads += [f"{IVS.prefix}:{operation}" for operation in (LIST_STREAMS, "ListStreamSessions")]
    if _has(places, STREAM_KEY.name) or _forgets(places, STREAM_KEY):
        reads += _actions([STREAM_KEY], lambda kind: (kind.list,))
    yield _allow("Read", reads, "*", regions)
    if arns := _output_arns(places, options):
        yield _allow("ReadOutputs", ["ssm:GetParameters"], arns)
    if options.state is not None:
        yield _allow("ReadState", ["s3:GetObject"], _state_objects(places, options))
        # Without it, S3 answers 403 in place of 404 for an object that does not exist.
        yield _allow("ListStateBucket", ["s3:ListBucket"], f"arn:aws:s3:::{options.state.bucket}")
    # Both are optional: without them, documented quotas are assumed, and CloudFormation's resources are not adopted.
    others = [
        "cloudformation:DescribeStackResources",
        "servicequotas:ListServiceQuotas",
        *(["cloudtrail:LookupEvents"] if options.blame else []),
    ]
    yield {"Sid": "ReadAccount", "Effect": "Allow", "Action": others, "Resource": "*", "Condition": regions}


def _forgets(places: Sequence[PolicyTarget], kind: Kind) -> bool:
    """Return whether a spec forgets a resource of this kind; a stream key is forgotten with its channel."""
    kinds = {address.kind for place in places for address in place.desired.forget}
    return kind.name in kinds or (kind.created_with is not None and kind.created_with in kinds)


def _changing(places: Sequence[PolicyTarget], options: PolicyOptions) -> Iterator[Statement]:
    """Yield the statements for each kind of change; a row without operations is left out."""
    kinds = [kind for kind in KINDS.values() if _has(places, kind.name)]
    prunes = options.prune or any(place.target.prune for place in places)
    going = list(KINDS.values()) if prunes else kinds
    touched = [kind for kind in KINDS.values() if kind in going or _forgets(places, kind)]
    # IVS creates a channel together with its key, whether or not the spec has the key.
    made = [*kinds, STREAM_KEY] if CHANNEL in kinds and STREAM_KEY not in kinds else kinds
    named = [kind for kind in kinds if kind.update_is_scoped]
    unnamed = [kind for kind in kinds if not kind.update_is_scoped]
    deleted = [kind for kind in going if kind is not STREAM_KEY]
    awaited = [kind for kind in touched if kind.ready and not _full_read(kind)]  # else allowed with the reads
    stopped = [CHANNEL, STREAM_KEY] if options.stop_live else []
    ending = [f"{IVS.prefix}:{operation}" for operation in (STOP_STREAM, STREAM_KEY.create, STREAM_KEY.list)]
    replaced = [STREAM_KEY] if STREAM_KEY in kinds or stopped else []

    regions = _in_regions(places)
    owned = {"StringEquals": {_OWNED: sorted({place.desired.stack for place in places})}}
    owning = {"StringEquals": {_OWNING: sorted({place.desired.stack for place in places})}}
    rows: list[tuple[str, Sequence[str], Sequence[Kind] | None, Mapping[str, object] | None]] = [
        ("Create", _actions(kinds, lambda kind: (kind.create,)), made, owning),
        # A new resource, and the key created with a channel, have no owner tag yet; one of another stack cannot be adopted.
        ("TagOnCreate", _actions(kinds, lambda _: (TAG,)), made, {**owning, "Null": {_OWNED: "true"}}),
        ("Update", _actions(named, lambda kind: (kind.update,)), named, owned),
        ("UpdateWithoutResource", _actions(unnamed, lambda kind: (kind.update,)), None, regions),
        (
            "TakeOver",
            _actions(kinds if options.take_over else [], lambda _: (TAG, UNTAG)),
            kinds,
            {"StringEquals": {_OWNED: sorted(set(options.take_over))}},
        ),
        ("Tag", _actions(touched, lambda _: (TAG, UNTAG)), touched, owned),
        ("Delete", _actions(deleted, lambda kind: (kind.delete,)), deleted, owned),
        # Deleting a channel deletes its key, tagged or not.
        (
            "DeleteStreamKeysOfChannels",
            _actions([CHANNEL] if CHANNEL in going else [], lambda kind: (kind.delete,)),
            [STREAM_KEY],
            None,
        ),
        ("WaitForState", _actions(awaited, lambda kind: (kind.get,)), awaited, None),
        ("RotateStreamKeys", _actions(replaced, lambda kind: (kind.delete,)), [STREAM_KEY], None),
        ("StopStreams", ending if stopped else [], stopped, None),
    ]
    for sid, operations, resources, condition in rows:
        if operations:
            arns = "*" if resources is None else [arn for kind in resources for arn in _arns(places, kind.name)]
            yield _allow(sid, operations, arns, condition)
    yield from _recording(places, kinds)
    yield from _publishing(places)
    if arns := _output_arns(places, options):
        written = ("AddTagsToResource", "GetParameters", "ListTagsForResource", "PutParameter")
        yield _allow("PublishOutputs", [f"ssm:{operation}" for operation in written], arns)
        if prunes:
            deletes = ["ssm:DeleteParameters", "ssm:GetParametersByPath"]
            yield _allow("DeleteOutputs", deletes, sorted({folder for arn in arns for folder in _below(arn)}))
    yield from _locks(places)
    if objects := _state_objects(places, options):
        yield _allow("WriteState", ["s3:PutObject"], objects)


def _recording(places: Sequence[PolicyTarget], kinds: Sequence[object]) -> Iterator[Statement]:
    if RECORDING_CONFIGURATION not in kinds:
        return
    role = "arn:aws:iam::*:role/aws-service-role/ivs.amazonaws.com/AWSServiceRoleForIVSRecordToS3*"
    yield _allow("RecordToS3Role", ["iam:AttachRolePolicy", "iam:CreateServiceLinkedRole", "iam:PutRolePolicy"], role)
    buckets = sorted({name for place in places for name in _buckets(place.desired)})
    arns = [f"arn:aws:s3:::{name}" for name in buckets]
    yield _allow("RecordingBuckets", ["s3:GetBucketLocation", "s3:ListBucket"], arns)


def _publishing(places: Sequence[PolicyTarget]) -> Iterator[Statement]:
    """Yield the statements for publishing values of stream keys. A key created with its channel has no tag until its value is published."""
    sinks = [
        (place.target.region, place.target.account_id or "*", resource.sink)
        for place in places
        for resource in place.desired.resources.values()
    ]
    found = [(region, account, sink) for region, account, sink in sinks if sink is not None]
    if found:
        reads = _actions([STREAM_KEY], lambda kind: (kind.get,))
        yield _allow("ReadStreamKeyValues", reads, _arns(places, STREAM_KEY.name))
        yield from sink_statements(found)


def _output_arns(places: Sequence[PolicyTarget], options: PolicyOptions) -> list[str]:
    """Return the ARN patterns of the parameters for outputs; what differs by resource is a wildcard."""
    found = set()
    for place in places:
        known = {
            "stack": place.desired.stack,
            "target": place.target.name,
            "region": place.target.region,
            "accountId": place.target.account_id or "*",
        }
        for name in options.parameters:
            filled = re.sub(r"\{([A-Za-z]+)\}", lambda word, known=known: known.get(word[1], "*"), name)  # type: ignore[misc]
            found.add(f"arn:aws:ssm:{place.target.region}:{place.target.account_id or '*'}:parameter{filled}")
    return sorted(found)


def _below(arn: str) -> tuple[str, str]:
    """Return the level of a pattern that all its parameters have, and everything below it."""
    level = arn.partition(":parameter")
    folder = level[2].partition("*")[0].rpartition("/")[0]
    return f"{level[0]}:parameter{folder}", f"{level[0]}:parameter{folder}/*"


def _locks(places: Sequence[PolicyTarget]) -> Iterator[Statement]:
    locks = [place.target.lock for place in places if isinstance(place.target.lock, S3Lock)]
    if not locks:
        return
    objects = sorted({f"arn:aws:s3:::{lock.bucket}/{lock.key}" for lock in locks})
    yield _allow("Lock", ["s3:GetObject", "s3:PutObject"], objects)
    yield _allow("ListLockBuckets", ["s3:ListBucket"], sorted({f"arn:aws:s3:::{lock.bucket}" for lock in locks}))


def _state_objects(places: Sequence[PolicyTarget], options: PolicyOptions) -> list[str]:
    """Return the ARN patterns of the records of applies in S3."""
    if options.state is None:
        return []
    start = f"arn:aws:s3:::{options.state.bucket}/{options.state.prefix}"
    return sorted({f"{start}{place.desired.stack}/*" for place in places})


def _allow(
    sid: str, actions: Iterable[str], resources: object, condition: Mapping[str, object] | None = None
) -> Statement:
    statement: Statement = {"Sid": sid, "Effect": "Allow", "Action": sorted(set(actions)), "Resource": resources}
    return {**statement, "Condition": dict(condition)} if condition else statement


def _arns(places: Sequence[PolicyTarget], kind: KindName) -> list[str]:
    """Return the ARN patterns of a kind in every account. Several regions are limited by a condition, which is shorter."""
    regions = {place.target.region for place in places}
    region = regions.pop() if len(regions) == 1 else "*"
    prefix, arn_type = KINDS[kind].service.prefix, KINDS[kind].arn_type
    return sorted({f"arn:aws:{prefix}:{region}:{place.target.account_id or '*'}:{arn_type}/*" for place in places})


def _actions(kinds: Iterable[Kind], operations: Callable[[Kind], Iterable[str | None]]) -> list[str]:
    """Return operations of each kind as IAM actions of its service."""
    return [f"{kind.service.prefix}:{name}" for kind in kinds for name in operations(kind) if name is not None]


def _full_read(kind: Kind) -> str | None:
    """Return the operation that reads resources in full, or ``None`` if the list is complete."""
    return kind.batch or (None if kind.summary_complete else kind.get)


def _has(places: Sequence[PolicyTarget], kind: KindName) -> bool:
    return any(address.kind is kind for place in places for address in place.desired.resources)


def _buckets(desired: DesiredState) -> Iterator[str]:
    for address, resource in desired.resources.items():
        if address.kind is RECORDING_CONFIGURATION.name:
            destination = resource.properties.get("destinationConfiguration")
            s3 = destination.get("s3") if isinstance(destination, Mapping) else None
            if isinstance(s3, Mapping) and isinstance(s3.get("bucketName"), str):
                yield str(s3["bucketName"])
