"""A plan as JSON, and back. The file is written once and only read by programs, so reading it is strict.

Every target carries a fingerprint of its content and the file one of all of it, when and from which commit it was made left out.
A file that somebody edited does not match its fingerprints and is refused: a plan is reviewed and applied as it is.

Plain JSON in, a plan out, with the place of whatever is wrong. Only ``codec`` uses this; it also checks the fingerprints.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, fields
from typing import TypeVar

from reconciler.diff import FieldChange
from reconciler.errors import PlanRefused, UsageError
from reconciler.model.address import Address, KindName
from reconciler.model.quotas import QuotaUse
from reconciler.model.target import Sink, Store, sink_to_json
from reconciler.model.values import Value, freeze, thaw
from reconciler.plan.plan import (
    Action,
    Base,
    Blocked,
    Duplicate,
    LiveChannel,
    Observed,
    Orphan,
    Plan,
    PlanOptions,
    Reason,
    ReplaceOrder,
    Step,
    Summary,
    TargetPlan,
    Until,
    Verb,
)
from reconciler.terminal import display_json

FORMAT_VERSION = "2.0"
"""Of the plan file. The first number changes when a program that reads plans would misread them."""

T = TypeVar("T")


class DamagedPlanError(ValueError):
    """What is wrong with the content of a plan file, and where."""


class Node:
    """One object of the file, with its place, and the typed ways to look into it."""

    def __init__(self, content: object, place: str) -> None:
        if not isinstance(content, Mapping):
            raise DamagedPlanError(f"{place or 'the file'} is not an object")
        self._content = content
        self._place = place

    def _get(self, key: str) -> object:
        if key not in self._content:
            raise DamagedPlanError(f"{self._at(key)} is missing")
        return self._content[key]

    def _at(self, key: str) -> str:
        return f"{self._place}/{key}"

    def has(self, key: str) -> bool:
        """Whether there is such a member."""
        return key in self._content

    def text(self, key: str) -> str:
        """Return a string."""
        value = self._get(key)
        if not isinstance(value, str):
            raise DamagedPlanError(f"{self._at(key)} is not a string")
        return value

    def optional_text(self, key: str) -> str | None:
        """Return a string or nothing."""
        return None if self._get(key) is None else self.text(key)

    def flag(self, key: str, *, default: bool | None = None) -> bool:
        """Return a boolean; without a default it has to be there."""
        value = self._content.get(key, default)
        if not isinstance(value, bool):
            raise DamagedPlanError(f"{self._at(key)} is not true or false")
        return value

    def whole(self, key: str) -> int:
        """Return a whole number."""
        value = self._get(key)
        if not isinstance(value, int) or isinstance(value, bool):
            raise DamagedPlanError(f"{self._at(key)} is not a whole number")
        return value

    def number(self, key: str) -> int:
        """Return a whole number that is not negative."""
        value = self.whole(key)
        if value < 0:
            raise DamagedPlanError(f"{self._at(key)} is not a count")
        return value

    def decimal(self, key: str) -> float:
        """Return a number that is not negative."""
        value = self._get(key)
        if not isinstance(value, int | float) or isinstance(value, bool) or not value >= 0:
            raise DamagedPlanError(f"{self._at(key)} is not a number")
        return float(value)

    def optional_number(self, key: str) -> int | None:
        """Return a whole number that is not negative, or nothing where there is none."""
        return None if self._content.get(key) is None else self.number(key)

    def parsed(self, key: str, parse: Callable[[str], T]) -> T:
        """Return a string as what ``parse`` makes of it."""
        try:
            return parse(self.text(key))
        except ValueError as error:
            raise DamagedPlanError(f"{self._at(key)}: {error}") from None

    def texts(self, key: str) -> tuple[str, ...]:
        """Return a list of strings."""
        values = self._get(key)
        if not isinstance(values, list) or not all(isinstance(value, str) for value in values):
            raise DamagedPlanError(f"{self._at(key)} is not a list of strings")
        return tuple(values)

    def text_map(self, key: str) -> dict[str, str]:
        """Return an object of strings."""
        values = self._get(key)
        if not isinstance(values, Mapping) or not all(isinstance(value, str) for value in values.values()):
            raise DamagedPlanError(f"{self._at(key)} is not an object of strings")
        return dict(values)

    def value(self, key: str) -> Value:
        """Return any value a property can have."""
        try:
            return freeze(self._get(key))
        except (TypeError, ValueError) as error:
            raise DamagedPlanError(f"{self._at(key)}: {error}") from None

    def values(self, key: str) -> Mapping[str, Value]:
        """Return an object of values."""
        value = self.value(key)
        if not isinstance(value, Mapping):
            raise DamagedPlanError(f"{self._at(key)} is not an object")
        return value

    def node(self, key: str) -> Node:
        """Return an object."""
        return Node(self._get(key), self._at(key))

    def optional_node(self, key: str) -> Node | None:
        """Return an object, or nothing where there is none."""
        return None if self._content.get(key) is None else self.node(key)

    def nodes(self, key: str) -> list[Node]:
        """Return a list of objects."""
        values = self._get(key)
        if not isinstance(values, list):
            raise DamagedPlanError(f"{self._at(key)} is not a list")
        return [Node(value, f"{self._at(key)}/{index}") for index, value in enumerate(values)]


def read_plan(content: object) -> Plan:
    """Return the plan that the content of a file describes. Raises ``DamagedPlanError``."""
    node = Node(content, "")
    version = node.text("formatVersion")
    if version != FORMAT_VERSION:
        raise DamagedPlanError(f"its format is {version}; this version reads {FORMAT_VERSION}")
    options, base = node.node("options"), node.optional_node("base")
    return Plan(
        stack=node.text("stack"),
        created_at=node.text("createdAt"),
        git_commit=node.optional_text("gitCommit"),
        spec_digest=node.text("specDigest"),
        options=PlanOptions(
            prune=options.flag("prune"),
            adopt=options.flag("adopt"),
            only=options.texts("only"),
            exclude=options.texts("exclude"),
            stop_live=options.texts("stopLive"),
            wait_live=options.optional_number("waitLive"),
        ),
        targets=tuple(_decode_target(target) for target in node.nodes("targets")),
        git_tree=node.text("gitTree") if node.has("gitTree") else None,
        base=None if base is None else Base(base.text("name"), base.text("commit")),
        of_revisions=node.flag("ofRevisions", default=False),
    )


def _decode_target(node: Node) -> TargetPlan:
    summary, managed = node.node("summary"), node.values("managed")
    not_read = node.texts("notRead")
    if not {*managed, *not_read} <= set(KindName) or not all(type(count) is int for count in managed.values()):
        raise DamagedPlanError("the counts of managed resources, or the kinds that were not read, are not by kind")
    return TargetPlan(
        name=node.text("name"),
        account_id=node.text("accountId"),
        region=node.text("region"),
        spec_digest=node.text("specDigest"),
        actions=tuple(_decode_action(action) for action in node.nodes("actions")),
        summary=Summary(**{field.name: summary.number(field.name) for field in fields(Summary)}),
        managed={KindName(kind): count for kind, count in managed.items() if isinstance(count, int)},
        desired_count=node.number("desired"),
        orphans=tuple(
            Orphan(_address(item), item.text("arn"), item.flag("protected")) for item in node.nodes("orphans")
        ),
        duplicates=tuple(
            Duplicate(_address(item), item.text("kept"), item.texts("others")) for item in node.nodes("duplicates")
        ),
        notes=node.texts("notes"),
        live_channels=tuple(_decode_live_channel(item) for item in node.nodes("liveChannels")),
        wait_live=node.number("waitLive"),
        quotas=tuple(_quota(item) for item in node.nodes("quotas")),
        not_read=tuple(map(KindName, not_read)),
    )


def _quota(node: Node) -> QuotaUse:
    return QuotaUse(
        kind=node.parsed("kind", KindName),
        now=node.number("now"),
        others=node.number("others"),
        peak=node.number("peak"),
        after=node.number("after"),
        limit=node.number("limit"),
        adjustable=node.flag("adjustable"),
        code=node.text("code"),
        applied=node.flag("applied"),
    )


def _decode_live_channel(node: Node) -> LiveChannel:
    return LiveChannel(_address(node), node.text("arn"), node.text("since"), node.whole("viewers"), node.text("health"))


def _decode_action(node: Node) -> Action:
    blocked, observed, order = (
        node.optional_node("blocked"),
        node.optional_node("observed"),
        node.optional_text("order"),
    )
    return Action(
        address=_address(node),
        verb=node.parsed("action", Verb),
        reason=node.parsed("reason", Reason),
        explanation=node.text("explanation"),
        arn=node.optional_text("arn"),
        changes=tuple(_decode_change(change) for change in node.nodes("changes")),
        steps=tuple(_decode_step(step) for step in node.nodes("steps")),
        observed=None
        if observed is None
        else Observed(observed.values("properties"), observed.text_map("tags"), observed.optional_text("state")),
        order=None if order is None else node.parsed("order", ReplaceOrder),
        blocked=None if blocked is None else Blocked(blocked.text("code"), blocked.text("message")),
        warnings=node.texts("warnings"),
    )


def _decode_change(node: Node) -> FieldChange:
    return FieldChange(
        node.text("path"),
        node.value("before"),
        node.value("after"),
        absent_before=node.flag("absentBefore", default=False),
        absent_after=node.flag("absentAfter", default=False),
    )


def _decode_step(node: Node) -> Step:
    until, deliver = node.optional_node("until"), node.optional_node("deliver")
    return Step(
        id=node.text("id"),
        operation=node.text("operation"),
        parameters=node.values("parameters"),
        after=node.texts("after"),
        binds=node.text_map("binds"),
        until=None if until is None else _decode_until(until),
        deliver=None
        if deliver is None
        else Sink(
            deliver.parsed("store", Store),
            deliver.text("name"),
            deliver.text("kmsKeyId") if deliver.has("kmsKeyId") else "",
        ),
    )


def _decode_until(node: Node) -> Until:
    return Until(
        node.text("member"),
        node.text("equals"),
        node.optional_text("failsOn"),
        node.flag("absent", default=False),
        node.optional_number("seconds"),
    )


def _address(node: Node) -> Address:
    return node.parsed("address", Address.parse)


_NOT_COVERED = ("createdAt", "gitCommit", "gitTree", "base", "fingerprint")


def to_json(plan: Plan) -> dict[str, object]:
    """Return the plan as plain JSON."""
    content: dict[str, object] = {
        "formatVersion": FORMAT_VERSION,
        "stack": plan.stack,
        "createdAt": plan.created_at,
        "gitCommit": plan.git_commit,
        **_origin(plan),
        "specDigest": plan.spec_digest,
        "options": _options(plan.options),
        "targets": [{**_target(target), "fingerprint": fingerprint(target)} for target in plan.targets],
    }
    content["fingerprint"] = _digest({key: value for key, value in content.items() if key not in _NOT_COVERED})
    return content


def dumps(plan: Plan) -> str:
    """Return the plan as the text of a plan file: the same plan gives the same text."""
    return display_json(to_json(plan), indent=2) + "\n"


def fingerprint(target: TargetPlan) -> str:
    """Return ``sha256:`` and the digest of everything in one target's plan."""
    return _digest(_target(target))


def from_json(content: object) -> Plan:
    """Read a plan back. Raises ``UsageError`` for what is no plan of this format, ``PlanRefused`` for one that was changed after it was made."""
    try:
        plan = read_plan(content)
    except DamagedPlanError as error:
        raise UsageError(f"not a usable plan: {error}; create one with plan --out FILE") from None
    written = to_json(plan)
    # What was read has to be all there was: a key that reading passes over would escape the fingerprint.
    if content != json.loads(json.dumps(written)):
        raise PlanRefused(
            f"the plan file was changed after it was created ({_where(content, written)} does not match its fingerprint); run plan again"
        )
    return plan


def _where(content: object, written: Mapping[str, object]) -> str:
    if isinstance(content, Mapping):
        before, after = content.get("targets"), written["targets"]
        if isinstance(before, list) and isinstance(after, list):
            for one, other in zip(before, after, strict=False):
                if one != other:
                    return f"target {other['name']}"
    return "the file"


def _digest(content: Mapping[str, object]) -> str:
    text = json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return "sha256:" + hashlib.sha256(text.encode(errors="surrogatepass")).hexdigest()


def _origin(plan: Plan) -> dict[str, object]:
    """Write what is known of where the plan comes from; what is not known has no member."""
    content: dict[str, object] = {}
    if plan.git_tree is not None:
        content["gitTree"] = plan.git_tree
    if plan.base is not None:
        content["base"] = {"name": plan.base.name, "commit": plan.base.commit}
    if plan.of_revisions:
        content["ofRevisions"] = True
    return content


def _options(options: PlanOptions) -> dict[str, object]:
    return {
        "prune": options.prune,
        "adopt": options.adopt,
        "only": list(options.only),
        "exclude": list(options.exclude),
        "stopLive": list(options.stop_live),
        "waitLive": options.wait_live,
    }


def _target(target: TargetPlan) -> dict[str, object]:
    return {
        "name": target.name,
        "accountId": target.account_id,
        "region": target.region,
        "specDigest": target.spec_digest,
        "summary": asdict(target.summary),
        "managed": {kind.value: count for kind, count in sorted(target.managed.items())},
        "desired": target.desired_count,
        "actions": [_action(action) for action in target.actions],
        "orphans": [_orphan(orphan) for orphan in target.orphans],
        "duplicates": [_duplicate(duplicate) for duplicate in target.duplicates],
        "notes": list(target.notes),
        "liveChannels": [_live_channel(channel) for channel in target.live_channels],
        "waitLive": target.wait_live,
        "quotas": [{**asdict(use), "kind": use.kind.value} for use in target.quotas],
        "notRead": [kind.value for kind in target.not_read],
    }


def _action(action: Action) -> dict[str, object]:
    return {
        "address": str(action.address),
        "kind": action.kind.value,
        "action": action.verb.value,
        "reason": action.reason.value,
        "explanation": action.explanation,
        "arn": action.arn,
        "order": None if action.order is None else action.order.value,
        "changes": [_change(change) for change in action.changes],
        "blocked": _blocked(action.blocked),
        "warnings": list(action.warnings),
        "steps": [_step(step) for step in action.steps],
        "observed": _observed(action.observed),
    }


def _change(change: FieldChange) -> dict[str, object]:
    """Write the two values always; that one is not there is said beside it, since ``null`` may be a value."""
    content: dict[str, object] = {"path": change.path, "before": thaw(change.before), "after": thaw(change.after)}
    if change.absent_before:
        content["absentBefore"] = True
    if change.absent_after:
        content["absentAfter"] = True
    return content


def _step(step: Step) -> dict[str, object]:
    content: dict[str, object] = {
        "id": step.id,
        "operation": step.operation,
        "parameters": _object(step.parameters),
        "after": list(step.after),
        "binds": dict(sorted(step.binds.items())),
    }
    if step.until is not None:
        content["until"] = _until(step.until)
    if step.deliver is not None:
        content["deliver"] = sink_to_json(step.deliver)
    return content


def _until(until: Until) -> dict[str, object]:
    content: dict[str, object] = {"member": until.member, "equals": until.equals, "failsOn": until.fails_on}
    if until.absent:
        content["absent"] = True
    if until.seconds is not None:
        content["seconds"] = until.seconds
    return content


def _blocked(blocked: Blocked | None) -> dict[str, object] | None:
    return None if blocked is None else {"code": blocked.code, "message": blocked.message}


def _observed(observed: Observed | None) -> dict[str, object] | None:
    if observed is None:
        return None
    return {
        "properties": _object(observed.properties),
        "tags": dict(sorted(observed.tags.items())),
        "state": observed.state,
    }


def _orphan(orphan: Orphan) -> dict[str, object]:
    return {"address": str(orphan.address), "arn": orphan.arn, "protected": orphan.protected}


def _duplicate(duplicate: Duplicate) -> dict[str, object]:
    return {"address": str(duplicate.address), "kept": duplicate.kept, "others": list(duplicate.others)}


def _live_channel(channel: LiveChannel) -> dict[str, object]:
    return {
        "address": str(channel.address),
        "arn": channel.arn,
        "since": channel.since,
        "viewers": channel.viewers,
        "health": channel.health,
    }


def _object(values: Mapping[str, Value]) -> dict[str, object]:
    """Write an object with its keys in order at every depth, so that the order in which values came in is forgotten."""
    return {key: _ordered(thaw(values[key])) for key in sorted(values)}


def _ordered(value: object) -> object:
    if isinstance(value, dict):
        return {key: _ordered(value[key]) for key in sorted(value)}
    return [_ordered(item) for item in value] if isinstance(value, list) else value
