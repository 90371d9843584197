"""Short makers of both states, with defaults: what a test does not speak of is in order.

``desired`` and ``live`` take resources; ``of`` makes the live form of a desired resource, so that the two agree until a test changes one.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import yaml

from reconciler.model.address import DELIVERED, ID, PROTECT, ROTATION, SPEC, STACK, Address, KindName
from reconciler.model.kinds import KINDS
from reconciler.model.resource import DesiredResource, DesiredState, LiveResource, LiveState, canonical, digest_of
from reconciler.model.target import Sink
from reconciler.model.values import Ref, Value

LOADER: type[yaml.SafeLoader] = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
"""Reads the cases, which every worker does; libyaml's is ten times as fast."""

ACCOUNT = "123456789012"
REGION = "us-west-2"
THIS_STACK = "acme"


def arn(address: str, *, suffix: str = "") -> str:
    """Return the ARN that a resource of this address has in tests."""
    kind, _, identifier = address.partition("/")
    row = KINDS[KindName(kind)]
    return f"arn:aws:{row.service.prefix}:{REGION}:{ACCOUNT}:{row.arn_type}/{identifier}{suffix}"


def with_defaults(kind: KindName, properties: Mapping[str, Value]) -> dict[str, Value]:
    """Return every field of the kind with its value, service defaults included, in the table's order."""
    return {field.name: properties.get(field.name, field.default_beside(properties)) for field in KINDS[kind].fields}


def wanted(
    address: str,
    properties: Mapping[str, object] | None = None,
    *,
    tags: Mapping[str, str] | None = None,
    protect: bool = False,
    ignore: Iterable[str] = (),
    public_key: str | None = None,
    stack: str = THIS_STACK,
    rotation: str = "",
    sink: Sink | None = None,
    overlap: int = 0,
) -> DesiredResource:
    """Make one resource of the spec; its name is its id unless told otherwise, references are ``Ref`` or ``{"$ref": address}``."""
    parsed = Address.parse(address)
    given: dict[str, object] = dict(properties or {})
    if parsed.kind is KindName.STREAM_KEY:
        given.setdefault("channelArn", Ref(Address(KindName.CHANNEL, parsed.id)))
    else:
        given.setdefault("name", parsed.id)
    if parsed.kind is KindName.RECORDING_CONFIGURATION:
        given.setdefault("destinationConfiguration", {"s3": {"bucketName": "vod"}})
    if parsed.kind is KindName.AD_CONFIGURATION:
        given.setdefault(
            "mediaTailorPlaybackConfigurations",
            [{"playbackConfigurationArn": "arn:aws:mediatailor:us-west-2:123456789012:playbackConfiguration/one"}],
        )
    if parsed.kind is KindName.PLAYBACK_KEY_PAIR:
        given.setdefault("fingerprint", f"fp-of-{parsed.id}")
        public_key = public_key or f"PEM with {given['fingerprint']}"
    settled = canonical(parsed.kind, {name: _ref(value) for name, value in given.items()})
    user_tags = dict(tags or {})
    care = {**({ROTATION: rotation} if rotation else {}), **({DELIVERED: sink.mark} if sink else {})}
    digest = digest_of({"properties": settled, "tags": user_tags, **care})
    own = {STACK: stack, ID: parsed.id, SPEC: digest} | ({PROTECT: "true"} if protect else {}) | care
    return DesiredResource(
        parsed,
        settled,
        {**user_tags, **own},
        digest,
        protect=protect,
        ignore=frozenset(ignore),
        public_key=public_key,
        sink=sink,
        overlap=overlap,
    )


def desired(*resources: DesiredResource, stack: str = THIS_STACK, ignore_tags: tuple[str, ...] = ()) -> DesiredState:
    """Make a desired state."""
    by_address = {resource.address: resource for resource in resources}
    digest = digest_of({str(address): by_address[address].digest for address in sorted(by_address)})
    return DesiredState(stack, by_address, digest, ignore_tags)


def of(
    resource: DesiredResource,
    *,
    changed: Mapping[str, object] | None = None,
    tags: Mapping[str, str | None] | None = None,
    suffix: str = "",
    state: str | None = None,
) -> LiveResource:
    """Make the live form of a desired resource. ``changed`` overrides properties, ``tags`` adds tags, or with ``None`` removes them."""
    kind = KINDS[resource.address.kind]
    properties: dict[str, object] = {name: _arn_of(value) for name, value in resource.properties.items()}
    properties.update(changed or {})
    merged = {**resource.tags, **{key: value for key, value in (tags or {}).items() if value is not None}}
    for key, value in (tags or {}).items():
        if value is None:
            merged.pop(key, None)
    return LiveResource(
        kind.name,
        arn(str(resource.address), suffix=suffix),
        canonical(kind.name, {name: _arn_of(_ref(value)) for name, value in properties.items()}),
        merged,
        state if state is not None else kind.ready,
    )


def unowned(
    address: str,
    properties: Mapping[str, object] | None = None,
    *,
    tags: Mapping[str, str] | None = None,
    complete: bool = True,
) -> LiveResource:
    """Make a live resource that is not ours: without a stack tag, or with the one in ``tags``."""
    like = of(wanted(address, properties), suffix="-unowned")
    return LiveResource(like.kind, like.arn, like.properties, dict(tags or {}), like.state, complete)


def live(*resources: LiveResource, unreadable: Mapping[KindName, str] | None = None) -> LiveState:
    """Make a live state."""
    by_kind: dict[KindName, list[LiveResource]] = {}
    for resource in resources:
        by_kind.setdefault(resource.kind, []).append(resource)
    return LiveState(
        ACCOUNT,
        REGION,
        {kind: tuple(sorted(group, key=lambda resource: resource.arn)) for kind, group in by_kind.items()},
        dict(unreadable or {}),
    )


def _ref(value: object) -> object:
    if isinstance(value, Mapping) and "$ref" in value:
        return Ref(Address.parse(str(value["$ref"])))
    return value


def _arn_of(value: object) -> object:
    return arn(str(value.address)) if isinstance(value, Ref) else value


def refs(**properties: str) -> dict[str, Value]:
    """Return reference properties by address: ``refs(recordingConfigurationArn="recording-configuration/archive")``."""
    return {name: Ref(Address.parse(address)) for name, address in properties.items()}
