"""A pure model of what IVS does with the steps of a plan, strict where the service is: the judge of plans in these tests.

It knows neither addresses nor ownership; it refuses what the service's documentation says is refused, by raising ``RefusedError``.
"""

from __future__ import annotations

import heapq
import itertools
import random
from collections.abc import Iterable, Iterator, Mapping

from reconciler.model.address import UNCOMPARED, KindName
from reconciler.model.kinds import DEFAULT_QUOTAS, KINDS, Kind
from reconciler.model.kinds.ivs import ADVANCED_TYPES
from reconciler.model.resource import LiveResource, LiveState, canonical
from reconciler.model.values import Ref, Value, thaw
from reconciler.plan.plan import Action, Step, TargetPlan
from tests.builders import ACCOUNT, REGION, with_defaults

_CALLS = {
    operation: (kind, what)
    for kind in KINDS.values()
    for what, operation in (
        ("create", kind.create),
        ("get", kind.get),
        ("update", kind.update),
        ("delete", kind.delete),
    )
    if operation
}
_REFERENCES = (
    "recordingConfigurationArn",
    "playbackRestrictionPolicyArn",
    "adConfigurationArn",
    "failoverSlateConfigurationArn",
)


class RefusedError(Exception):
    """What the service would have answered instead."""


def in_order(actions: Iterable[Action]) -> tuple[Step, ...]:
    """Return the steps of all actions so that each comes after its dependencies; otherwise in the order of actions.

    Raises ``ValueError`` for a cycle, or a dependency on an unknown step.
    """
    steps = [step for action in actions for step in action.steps]
    place = {step.id: index for index, step in enumerate(steps)}
    waiting = {step.id: set(step.after) for step in steps}
    followers: dict[str, list[str]] = {}
    for step in steps:
        for needed in step.after:
            if needed not in place:
                raise ValueError(f"{step.id} waits for {needed}, which is no step of this plan")
            followers.setdefault(needed, []).append(step.id)
    ready = [index for index, step in enumerate(steps) if not step.after]
    result: list[Step] = []
    while ready:
        step = steps[heapq.heappop(ready)]
        result.append(step)
        for follower in followers.get(step.id, ()):
            waiting[follower].discard(step.id)
            if not waiting[follower]:
                heapq.heappush(ready, place[follower])
    if len(result) < len(steps):
        done = {step.id for step in result}
        raise ValueError(
            f"steps wait for one another in a circle: {', '.join(step.id for step in steps if step.id not in done)}"
        )
    return tuple(result)


def any_order(actions: Iterable[Action], chance: random.Random) -> Iterator[Step]:
    """Yield the steps in an order that chance picks among those that the plan allows."""
    steps = [step for action in actions for step in action.steps]
    done: set[str] = set()
    while steps:
        step = chance.choice([step for step in steps if done.issuperset(step.after)])
        steps.remove(step)
        done.add(step.id)
        yield step


class Service:
    """Live resources, and the operations on them."""

    def __init__(
        self, live: LiveState, streams: Iterable[str] = (), limits: Mapping[KindName, int] = DEFAULT_QUOTAS
    ) -> None:
        self.limits = {**limits, KindName.STREAM_KEY: 1}
        self.streams = set(streams)
        self.resources = {resource.arn: resource for group in live.resources.values() for resource in group}
        self.made = itertools.count(1)
        self.bound: dict[str, str] = {}
        self.touched: set[str] = set()
        self.delivered: dict[str, str] = {}

    def run(self, plan: TargetPlan, chance: random.Random | None = None) -> LiveState:
        """Carry out every action that is not blocked, and return what is live then. With ``chance``, in any order that the plan allows."""
        assert not any(action.steps for action in plan.actions if action.blocked), "a blocked action has steps"
        for step in in_order(plan.actions) if chance is None else any_order(plan.actions, chance):
            self.call(step)
        return self.live()

    def live(self) -> LiveState:
        groups: dict[KindName, list[LiveResource]] = {}
        for resource in self.resources.values():
            groups.setdefault(resource.kind, []).append(resource)
        return LiveState(
            ACCOUNT, REGION, {kind: tuple(sorted(group, key=lambda item: item.arn)) for kind, group in groups.items()}
        )

    def call(self, step: Step) -> None:
        parameters = {name: self._known(value) for name, value in step.parameters.items()}
        if step.operation in ("TagResource", "UntagResource"):
            self._tag(step.operation, parameters)
            return
        if step.operation == "StopStream":
            self._stop(str(parameters["channelArn"]))
            return
        if step.operation == "ListStreams":
            assert step.until is not None
            assert step.until.absent
            self.streams.discard(step.until.equals)  # what is waited for comes to an end
            return
        kind, what = _CALLS[step.operation]
        if what == "create":
            self._create(step, kind, parameters)
            return
        arn = str(parameters.pop(kind.identifier))
        if arn not in self.resources:
            raise RefusedError(f"{step.id}: 404 {arn}")
        if arn in self.streams and what in ("update", "delete"):
            raise RefusedError(f"{step.id}: 409 {arn} is live")
        if step.deliver is not None:
            self.delivered[step.deliver.mark] = arn
        elif what == "get":
            self._settle(step, kind, arn)
        elif what == "update":
            self.touched.add(arn)
            self._update(kind, arn, parameters)
        else:
            self.touched.add(arn)
            self._delete(kind, arn)

    def _stop(self, channel: str) -> None:
        assert not any(key.properties["channelArn"] == channel for key in self._of(KINDS[KindName.STREAM_KEY])), (
            "the encoder reconnects with its key"
        )
        self.streams.discard(channel)

    def _known(self, value: Value) -> Value:
        if isinstance(value, Ref):
            return self.bound[str(value.address)]
        if isinstance(value, Mapping):
            return {key: self._known(item) for key, item in value.items()}
        return tuple(self._known(item) for item in value) if isinstance(value, tuple) else value

    def _tag(self, operation: str, parameters: Mapping[str, Value]) -> None:
        arn = str(parameters["resourceArn"])
        resource = self.resources[arn]
        tags = dict(resource.tags)
        self.touched.add(arn)
        if operation == "TagResource":
            given = parameters["tags"]
            assert isinstance(given, Mapping)
            assert given, "a tag call without tags"
            tags.update({key: str(value) for key, value in given.items()})
        else:
            keys = parameters["tagKeys"]
            assert isinstance(keys, tuple)
            for key in keys:
                if key in UNCOMPARED:
                    tags.pop(key, None)  # removed whether or not it exists
                else:
                    del tags[str(key)]
        self._put(resource, tags=tags)

    def _create(self, step: Step, kind: Kind, parameters: dict[str, Value]) -> None:
        tags = parameters.pop("tags")
        assert isinstance(tags, Mapping)
        if kind.name is KindName.PLAYBACK_KEY_PAIR:
            fingerprint = str(parameters.pop("publicKeyMaterial")).removeprefix("PEM with ")
            if any(pair.properties.get("fingerprint") == fingerprint for pair in self._of(kind)):
                raise RefusedError(f"{step.id}: 409 this public key is imported already")
            parameters["fingerprint"] = fingerprint
        quota = (
            sum(key.properties["channelArn"] == parameters["channelArn"] for key in self._of(kind))
            if kind.name is KindName.STREAM_KEY
            else len(self._of(kind))
        )
        if quota >= self.limits.get(kind.name, quota + 1):
            raise RefusedError(f"{step.id}: 402 quota of {self.limits[kind.name]} {kind.title}s")
        arn = self._new_arn(kind)
        self._check(kind, parameters, parameters)
        state = "CREATING" if kind.ready else None
        self.resources[arn] = LiveResource(
            kind.name,
            arn,
            canonical(kind.name, thaw_all(parameters)),
            {key: str(value) for key, value in tags.items()},
            state,
        )
        made = {kind.arn_path: arn}
        if kind.name is KindName.CHANNEL:
            key = self._new_arn(KINDS[KindName.STREAM_KEY])
            self.resources[key] = LiveResource(KindName.STREAM_KEY, key, {"channelArn": arn}, {})
            made["streamKey.arn"] = key
        for address, path in step.binds.items():
            self.bound[address] = made[path]

    def _settle(self, step: Step, kind: Kind, arn: str) -> None:
        assert step.until is not None
        assert (step.until.member, step.until.equals, step.until.fails_on) == ("state", kind.ready, kind.failed)
        if self.resources[arn].state == kind.failed:
            raise RefusedError(f"{step.id}: {arn} failed")
        self._put(self.resources[arn], state=kind.ready)

    def _update(self, kind: Kind, arn: str, parameters: dict[str, Value]) -> None:
        assert parameters, "an update call that changes nothing"
        resource = self.resources[arn]
        merged = {**with_defaults(kind.name, resource.properties), **parameters}
        if kind.name is KindName.CHANNEL:
            if merged["type"] not in ADVANCED_TYPES and "preset" not in parameters:
                merged["preset"] = ""
            elif "type" in parameters and "preset" not in parameters:
                merged["preset"] = "HIGHER_BANDWIDTH_DELIVERY"
            # The documentation does not say how these three are judged when some are left out, so they have to come together.
            if "multitrackInputConfiguration" in parameters or "containerFormat" in parameters:
                assert {"multitrackInputConfiguration", "containerFormat"} <= parameters.keys()
        self._check(kind, merged, parameters)
        self._put(resource, properties=canonical(kind.name, thaw_all(merged)))

    def _delete(self, kind: Kind, arn: str) -> None:
        users = [channel.arn for channel in self._of(KINDS[KindName.CHANNEL]) if arn in channel.properties.values()]
        if users:
            raise RefusedError(f"409 {arn} is used by {users}")
        if self.resources[arn].state == "CREATING":
            raise RefusedError(f"409 {arn} is being created")
        del self.resources[arn]
        if kind.name is KindName.CHANNEL:
            for key in self._of(KINDS[KindName.STREAM_KEY]):
                if key.properties["channelArn"] == arn:
                    del self.resources[key.arn]

    def _check(self, kind: Kind, properties: Mapping[str, Value], sent: Mapping[str, Value]) -> None:
        if kind.name is not KindName.CHANNEL:
            return
        for name in _REFERENCES:
            arn = sent.get(name) or ""
            if arn and arn not in self.resources:
                raise RefusedError(f"404 {arn}")
            if arn and self.resources[str(arn)].state not in (None, "ACTIVE", "CREATED"):
                raise RefusedError(f"409 {arn} is {self.resources[str(arn)].state}")
        if properties.get("preset") and properties.get("type") not in ADVANCED_TYPES:
            raise RefusedError("400 a preset for a type that has none")
        multitrack = properties.get("multitrackInputConfiguration") or {}
        assert isinstance(multitrack, Mapping)
        container = properties.get("containerFormat", "TS")
        if multitrack.get("enabled"):
            if not {"policy", "maximumResolution"} <= multitrack.keys():
                raise RefusedError("400 multitrack input without its policy and resolution")
            if container != "FRAGMENTED_MP4" or properties.get("type", "STANDARD") != "STANDARD":
                raise RefusedError("400 multitrack input needs STANDARD and FRAGMENTED_MP4")
        if properties.get("adConfigurationArn") and container != "TS":
            raise RefusedError("400 an ad configuration needs TS")

    def _of(self, kind: Kind) -> list[LiveResource]:
        return [resource for resource in self.resources.values() if resource.kind is kind.name]

    def _new_arn(self, kind: Kind) -> str:
        return f"arn:aws:{kind.service.prefix}:{REGION}:{ACCOUNT}:{kind.arn_type}/made-{next(self.made)}"

    def _put(
        self,
        resource: LiveResource,
        *,
        properties: Mapping[str, Value] | None = None,
        tags: Mapping[str, str] | None = None,
        state: str | None = None,
    ) -> None:
        self.resources[resource.arn] = LiveResource(
            resource.kind,
            resource.arn,
            resource.properties if properties is None else properties,
            resource.tags if tags is None else tags,
            state or resource.state,
        )


def thaw_all(values: Mapping[str, Value]) -> dict[str, object]:
    """Return values the way they come from the wire."""
    return {name: thaw(value) for name, value in values.items()}
