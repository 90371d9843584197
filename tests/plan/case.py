"""Reading case files: one situation of the planner in YAML, with what is expected of it.

``@channel/main`` is the ARN that the live resource of this address has in the builders, ``&channel/main`` for a reference.
Our own tags are written ``$stack``, ``$id``, ``$spec`` and ``$protect``; their values are ``ours`` where they are what the spec demands.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

import yaml

from reconciler.model.address import ID, PREFIX, SPEC, STACK, Address, KindName
from reconciler.model.kinds import KINDS, QUOTAS, AppliedQuotas
from reconciler.model.resource import (
    DesiredResource,
    DesiredState,
    LastStream,
    LiveResource,
    LiveState,
    StackHold,
    StackMember,
    Stream,
)
from reconciler.model.target import Guardrails, OnLive, Sink, Store
from reconciler.model.values import REF, Ref, Value, thaw
from reconciler.plan.decide import build_plan
from reconciler.plan.decision import NOTHING, Rotate
from reconciler.plan.guardrails import members_to_adopt, with_holds, with_quotas
from reconciler.plan.live_channels import Broadcasts, LiveRules, with_live_channels
from reconciler.plan.plan import Action, PlanOptions, TargetPlan
from tests.builders import LOADER, THIS_STACK, arn, desired, live, of, unowned, wanted

CASES = Path(__file__).resolve().parent.parent / "cases" / "plan"
_TYPES = {kind.arn_type: kind.name.value for kind in KINDS.values()}


class Case:
    """One situation, read."""

    def __init__(self, content: dict[str, Any]) -> None:
        self.title: str = content["title"]
        self.expect: dict[str, Any] = content["expect"]
        options = content.get("options", {})
        self.options = PlanOptions(
            prune=options.get("prune", False),
            adopt=options.get("adopt", False),
            adopt_with_changes=options.get("adoptWithChanges", False),
            only=tuple(options.get("only", ())),
            exclude=tuple(options.get("exclude", ())),
            stop_live=tuple(options.get("stopLive", ())),
            wait_live=options.get("waitLive"),
            create_beside=tuple(options.get("createBeside", ())),
            take_over=tuple(options.get("takeOver", ())),
        )
        self.desired = self._desired(content)
        self.live = self._live(content)
        self.adopt = {Address.parse(address): _arns(value) for address, value in content.get("adopt", {}).items()}
        self.recorded = {Address.parse(address): _arns(value) for address, value in content.get("recorded", {}).items()}
        self.streams = {
            _arns(key): Stream(_arns(key), value["since"], value["viewers"])
            for key, value in content.get("streams", {}).items()
        }
        quotas = content.get("quotas", {})
        codes = {QUOTAS[KindName(kind)].code: value for kind, value in quotas.items() if kind != "unknown"}
        self.applied = AppliedQuotas(codes, quotas.get("unknown", ""))
        limits = content.get("guardrails", {})
        self.guardrails = Guardrails(
            max_deletes=limits.get("maxDeletes", 20),
            max_delete_percent=limits.get("maxDeletePercent", 30),
            max_updates=limits.get("maxUpdates"),
            max_update_percent=limits.get("maxUpdatePercent"),
            on_live=OnLive(limits.get("onLive", "block")),
        )
        self.holds = {
            _arns(arn): StackHold(**hold) if isinstance(hold, dict) else StackHold(hold or "")
            for arn, hold in content.get("cloudformation", {}).items()
        }
        self.allow: dict[str, Any] = content.get("allow", {})
        rotate = content.get("rotate", {})
        file = Sink(Store.FILE, rotate["file"]) if "file" in rotate else None
        self.rotate = Rotate(
            frozenset(map(Address.parse, rotate.get("addresses", ()))), file, rotate.get("evenLive", False)
        )
        self.now = datetime.fromisoformat(content.get("now", "2026-11-20T10:00:00+00:00"))

    def plan(
        self,
        wanted_state: DesiredState | None = None,
        live_state: LiveState | None = None,
        streams: Mapping[str, Stream] | None = None,
        *,
        later: bool = False,
    ) -> TargetPlan:
        """Plan the situation, or the same wishes in another one; a later plan is asked for no rotation."""
        there, spec = live_state or self.live, wanted_state or self.desired
        plan = build_plan(
            spec,
            there,
            self.options,
            target_name="prod",
            adopt=self.adopt,
            recorded=self.recorded,
            limits=self.applied.limits,
            rotate=NOTHING if later else self.rotate,
            now=self.now,
        )
        streams = self.streams if streams is None else streams
        rules = LiveRules.of(self.guardrails, self.options, spec.resources, even_live=self.rotate.even_live)
        broadcasts = self._broadcasts(there, streams)
        plan = with_holds(plan, members_to_adopt(plan.actions, there), self.holds, self.options.take_over)
        return with_quotas(with_live_channels(plan, there, rules, broadcasts), there, self.applied)

    def _broadcasts(self, there: LiveState, streams: Mapping[str, Stream]) -> Broadcasts | None:
        if not streams:
            return None
        keys: dict[str, tuple[LiveResource, ...]] = {}
        for key in there.of(KindName.STREAM_KEY):
            channel = str(key.properties["channelArn"])
            keys[channel] = (*keys.get(channel, ()), key)
        return Broadcasts(streams, keys)

    def _desired(self, content: dict[str, Any]) -> DesiredState:
        self.specs: dict[str, DesiredResource] = {}
        for address, given in (content.get("desired") or {}).items():
            self.specs[address] = _wanted(address, given or {})
        return desired(*self.specs.values(), ignore_tags=tuple(content.get("ignoreTags", ())))._replace(
            moved={Address.parse(old): Address.parse(new) for old, new in content.get("moved", {}).items()},
            forget=frozenset(map(Address.parse, content.get("forget", ()))),
            missing=tuple(content.get("missing", ())),
        )

    def _live(self, content: dict[str, Any]) -> LiveState:
        resources = []
        for given in content.get("live") or ():
            if "unowned" in given:
                made = unowned(
                    given["unowned"],
                    _values(given.get("properties", {})),
                    tags=_own(given.get("tags", {})),
                    complete=given.get("complete", True),
                )
                made = _in_state(made, given.get("state"))
                if "memberOf" in given:
                    made = replace(made, member_of=StackMember(*given["memberOf"].split("/")))
                resources.append(made)
                continue
            address = given["of"]
            spec = self.specs.get(address)
            if spec is None or "properties" in given:
                spec = _wanted(
                    address, {"properties": given.get("properties", {}), "protect": given.get("protect", False)}
                )
            tags = _own(given.get("tags", {}))
            if given.get("spec") == "before":
                tags[SPEC] = "digest-of-before"
            if address in self.specs and "properties" in given and given.get("spec") != "before":
                tags.setdefault(SPEC, self.specs[address].digest)
            resources.append(
                of(
                    spec,
                    changed=_values(given.get("changed", {})),
                    tags=tags,
                    suffix=given.get("suffix", ""),
                    state=given.get("state"),
                )
            )
        found = live(
            *resources, unreadable={KindName(kind): why for kind, why in content.get("unreadable", {}).items()}
        )
        last = {
            _arns(arn): LastStream(since["running"], since["at"])
            for arn, since in content.get("lastStreams", {}).items()
        }
        return found._replace(last_streams=last, streams_hidden=content.get("streamsHidden", ""))


def read_cases() -> list[Any]:
    """Return every case of every file, with its file and title as the id."""
    import pytest

    return [
        pytest.param(Case(content), id=f"{path.stem}: {content['title']}")
        for path in sorted(CASES.glob("*.yaml"))
        for content in yaml.load_all(path.read_text(encoding="utf-8"), LOADER)
    ]


def shown(action: Action, case: Case) -> dict[str, Any]:
    """Return an action in the words of a case file."""
    return {
        "do": f"{action.verb} {action.address}",
        "why": action.reason.value,
        "arn": short(action.arn or ""),
        "order": None if action.order is None else action.order.value,
        "blocked": None if action.blocked is None else action.blocked.code,
        "changes": {
            _short_path(change.path): [
                _shown("absent" if change.absent_before else change.before, action, case),
                _shown("absent" if change.absent_after else change.after, action, case),
            ]
            for change in action.changes
        },
        "steps": [
            {
                step.operation: {
                    **({"to": str(step.deliver)} if step.deliver else {}),
                    **{name: _shown_parameter(name, value, action, case) for name, value in step.parameters.items()},
                }
            }
            for step in action.steps
        ],
        "says": short(
            " | ".join([action.explanation, action.blocked.message if action.blocked else "", *action.warnings])
        ),
    }


def _shown_parameter(name: str, value: Value, action: Action, case: Case) -> Any:
    if name == "tags" and isinstance(value, Mapping):
        own = {key: _shown_tag(key, str(item), action, case) for key, item in value.items()}
        if {"$stack", "$id", "$spec"} <= {_short_key(key) for key in own} and own[STACK] == own[ID] == own[
            SPEC
        ] == "ours":
            own = {"$own": "yes", **{key: item for key, item in own.items() if key not in (STACK, ID, SPEC)}}
        return {_short_key(key): item for key, item in own.items()}
    if name == "tagKeys" and isinstance(value, tuple):
        return [_short_key(str(key)) for key in value]
    return _shown(value, action, case)


def _shown_tag(key: str, value: str, action: Action, case: Case) -> str:
    spec = case.specs.get(str(action.address))
    ours = {STACK: THIS_STACK, ID: action.address.id, SPEC: spec.digest if spec else ""}
    return "ours" if ours.get(key) == value else value


def _shown(value: Value, action: Action, case: Case) -> Any:
    if isinstance(value, str):
        spec = case.specs.get(str(action.address))
        return "ours" if spec and value == spec.digest else short(value)
    if isinstance(value, Ref):
        return f"&{value.address}"
    if isinstance(value, tuple):
        return [_shown(item, action, case) for item in value]
    if isinstance(value, Mapping):
        return {key: _shown(item, action, case) for key, item in value.items()}
    return thaw(value)


def _short_key(key: str) -> str:
    return "$" + key.removeprefix(PREFIX) if key.startswith(PREFIX) else key


def _short_path(path: str) -> str:
    return path.replace("/tags/" + PREFIX, "/tags/$")


def short(text: str) -> str:
    """Write the ARNs in a text in their short form."""
    return re.sub(
        r"arn:aws:ivs:[a-z0-9-]+:\d{12}:([a-z-]+)/([\w-]+)", lambda match: f"@{_TYPES[match[1]]}/{match[2]}", text
    )


def _arns(text: str) -> str:
    return arn(text[1:]) if text.startswith("@") else text


def _values(given: Mapping[str, Any]) -> dict[str, Any]:
    result: dict[str, Any] = {}
    for name, value in given.items():
        if isinstance(value, str) and value.startswith("&"):
            result[name] = {REF: value[1:]}
        else:
            result[name] = _arns(value) if isinstance(value, str) else value
    return result


def _own(tags: Mapping[str, Any]) -> dict[str, Any]:
    return {PREFIX + key[1:] if key.startswith("$") else key: value for key, value in tags.items()}


def _wanted(address: str, given: Mapping[str, Any]) -> DesiredResource:
    return wanted(
        address,
        _values(given.get("properties", {})),
        tags=given.get("tags", {}),
        protect=given.get("protect", False),
        ignore=given.get("ignore", ()),
        rotation=given.get("rotation", ""),
        sink=Sink(Store.PARAMETER_STORE, given["parameter"]) if "parameter" in given else None,
        overlap=given.get("overlap", 0),
    )


def _in_state(resource: LiveResource, state: str | None) -> LiveResource:
    return (
        resource
        if state is None
        else LiveResource(resource.kind, resource.arn, resource.properties, resource.tags, state, resource.complete)
    )
