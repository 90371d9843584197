"""The plan file: a plan as JSON, and back. It is written once and only read by programs, so reading it is strict.

Each target has a fingerprint of its content, and the file one of everything except when and from which commit it was created.
A file that was edited does not match its fingerprints and is refused: a plan is applied as it was reviewed.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from pydantic_core import core_schema as core

from reconciler import json_format as form
from reconciler.diff import FieldChange
from reconciler.errors import PlanRefused, UsageError
from reconciler.json_format import (
    COUNT,
    FLAG,
    TEXT,
    TEXT_MAP,
    TEXT_OR_NULL,
    TEXTS,
    TRUE,
    WHOLE,
    DuplicateKey,
    Format,
    FormatError,
    JsonStream,
    described,
    list_of,
)
from reconciler.model.address import Address, KindName
from reconciler.model.resource import UnmanagedResource
from reconciler.model.target import Guardrails, OnLive, Shards, Sink, SinkValue, Store
from reconciler.model.values import REF, Value, freeze, thaw
from reconciler.plan.plan import (
    Action,
    Adoption,
    Base,
    Blocked,
    Duplicate,
    FailedTarget,
    Kept,
    LiveChannel,
    Observed,
    Orphan,
    Plan,
    PlanOptions,
    QuotaUse,
    Reason,
    ReplaceOrder,
    SettingChange,
    Step,
    Summary,
    TargetPlan,
    Until,
    Verb,
)
from reconciler.terminal import display_json

FORMAT_VERSION = "2.0"
"""Of the plan file. The first number changes when a program that reads plans would misread them."""


def freeze_value(value: object) -> Value:
    """Return plain JSON as the value of a property. Raises ``ValueError``."""
    try:
        return freeze(value)
    except TypeError as error:
        raise ValueError(error) from None


def _freeze_object(content: object) -> Value:
    value = freeze_value(content)
    if not isinstance(value, Mapping):
        raise ValueError("a reference is not an object")  # noqa: TRY004 - pydantic turns this one into its error
    return value


def _thaw_object(values: Mapping[str, Value]) -> object:
    """Write an object with its keys in order at every depth, so that the order in which values came in is forgotten."""
    return _ordered(thaw(values))


def _ordered(value: object) -> object:
    if isinstance(value, dict):
        return {key: _ordered(value[key]) for key in sorted(value)}
    return [_ordered(item) for item in value] if isinstance(value, list) else value


def _counts(managed: Mapping[KindName, int]) -> dict[str, int]:
    return {kind.value: count for kind, count in sorted(managed.items())}


_ADDRESS_PATTERN = f"^({'|'.join(kind.value for kind in KindName)})/.+$"
ADDRESS = described(form.parsed(Address.parse), pattern=_ADDRESS_PATTERN)
ARN = described(TEXT, pattern="^arn:")
DIGEST = described(TEXT, pattern="^sha256:[0-9a-f]+$")
PATH = described(form.shared(TEXT), "A JSON pointer into the properties, or /tags/<key>.", pattern="^/")
ACTION = form.choice(Verb)

_REFERENCE = {
    "type": "object",
    "properties": {REF: {"type": "string", "pattern": _ADDRESS_PATTERN}},
    "required": [REF],
    "additionalProperties": False,
}
_JSON = described(
    form.defined("value", core.any_schema()),
    f'Any JSON; an object {{"{REF}": address}} is the ARN of that resource, which is known once it exists.',
    anyOf=[{"type": ["null", "boolean", "integer", "string", "array", "object"]}, _REFERENCE],
)
VALUE = form.converted(_JSON, freeze_value, thaw)
_OBJECT = form.converted(core.dict_schema(TEXT, _JSON), _freeze_object, _thaw_object)
_CHANGE = form.record(
    FieldChange, path=PATH, before=VALUE, after=VALUE, absent_before=form.omitted(TRUE), absent_after=form.omitted(TRUE)
)
_UNTIL = form.record(
    Until, member=TEXT, equals=TEXT, fails_on=form.or_null(TEXT), absent=form.omitted(TRUE), seconds=form.omitted(COUNT)
)
_SINK = form.record(
    Sink,
    store=form.choice(Store),
    name=TEXT,
    kms_key=form.omitted(form.called("kmsKeyId", TEXT)),
    value=form.omitted(described(form.choice(SinkValue), "json: an object with url and key. Default: key.")),
)
_STEP = form.record(
    Step,
    id=described(TEXT, pattern="#[0-9]+$"),
    operation=described(TEXT, "The AWS API operation."),
    parameters=_OBJECT,
    after=described(TEXTS, "The steps that must be done before."),
    binds=described(TEXT_MAP, "By address, the path in the answer that holds its ARN."),
    until=form.omitted(
        described(_UNTIL, "Repeat until the member has the value; with absent, until no item of the list has it.")
    ),
    deliver=form.omitted(
        described(_SINK, "Where the stream key's value, read by this step, is published; it goes nowhere else.")
    ),
)
_BLOCKED_CODE = described(
    TEXT,
    enum=[
        "protected",
        "live",
        "unmanaged",
        "unreadable",
        "incomplete-spec",
        "no-public-key",
        "moved",
        "renamed",
        "depends",
    ],
)
UNMANAGED = form.record(UnmanagedResource, kind=form.choice(KindName), arn=ARN, name=TEXT, owner=TEXT_OR_NULL)
_ACTION = form.record(
    Action,
    address=ADDRESS,
    kind=form.choice(KindName),
    verb=form.called("action", ACTION),
    reason=form.choice(Reason),
    explanation=TEXT,
    arn=form.or_null(TEXT),
    order=described(form.or_null(form.choice(ReplaceOrder)), "Of a replacement: which half comes first."),
    changes=list_of(form.defined("change", _CHANGE)),
    blocked=form.or_null(form.record(Blocked, code=_BLOCKED_CODE, message=TEXT)),
    warnings=TEXTS,
    steps=described(list_of(form.defined("step", _STEP)), "None while the action is blocked."),
    observed=form.or_null(form.record(Observed, properties=_OBJECT, tags=TEXT_MAP, state=form.or_null(TEXT))),
)
_MANAGED = core.dict_schema(
    form.choice(KindName), described(WHOLE, minimum=0), serialization=core.plain_serializer_function_ser_schema(_counts)
)
_LIVE_CHANNEL = form.record(LiveChannel, address=ADDRESS, arn=ARN, since=TEXT, viewers=WHOLE, health=TEXT)
_QUOTA = form.record(
    QuotaUse,
    kind=form.choice(KindName),
    **dict.fromkeys(("now", "others", "peak", "after", "limit"), COUNT),
    adjustable=FLAG,
    code=TEXT,
    applied=described(FLAG, "False where limit is the documented default."),
)
_TARGET = form.record(
    TargetPlan,
    name=TEXT,
    account_id=described(TEXT, "Empty where a comparison of revisions does not know it.", pattern="^([0-9]{12})?$"),
    region=TEXT,
    spec_digest=described(TEXT, "Digest of the desired state of this target."),
    summary=described(
        form.record(Summary, **dict.fromkeys(Summary._fields, COUNT)), "A blocked action counts in blocked alone."
    ),
    managed=described(
        form.reworded(_MANAGED, "is not the counts of managed resources by kind"),
        propertyNames={"enum": [kind.value for kind in KindName]},
    ),
    desired_count=form.called("desired", described(COUNT, "How many resources the spec has for this target.")),
    actions=list_of(form.defined("action", _ACTION)),
    orphans=list_of(form.record(Orphan, address=ADDRESS, arn=described(TEXT, pattern="^(arn:.*)?$"), protected=FLAG)),
    duplicates=list_of(
        form.record(
            Duplicate, address=ADDRESS, kept=ARN, others=form.reworded(list_of(ARN), "is not a list of strings")
        )
    ),
    kept=form.omitted(
        described(
            list_of(
                form.record(
                    Kept,
                    address=ADDRESS,
                    arn=ARN,
                    replaced_by=ARN,
                    usage=TEXT,
                    used_by=form.called("count", COUNT),
                    users=described(list_of(UNMANAGED), "The first of them, in ARN order."),
                )
            ),
            "Replaced resources that are kept, because resources of other owners still use them; count says how many.",
        )
    ),
    notes=TEXTS,
    live_channels=described(
        list_of(_LIVE_CHANNEL), "Live channels that the plan changes; -1 viewers if the service could not count them."
    ),
    wait_live=described(COUNT, "Seconds that an apply waits for a channel that goes live after the plan was created."),
    quotas=described(
        list_of(_QUOTA),
        "Of the kinds that the plan creates: all resources, those of other owners, the most at any moment, and those at the end.",
    ),
    unmanaged=form.omitted(
        described(
            list_of(UNMANAGED), "Resources without an owner, or of another stack, which owner names. None is changed."
        )
    ),
    not_read=described(
        list_of(form.choice(KindName)), "Kinds that were not read, since neither the spec nor the last apply has any."
    ),
    adopt=form.omitted(
        described(
            list_of(form.record(Adoption, address=ADDRESS, arn=ARN)),
            "The live resources that were given by ARN to be adopted, also those that are adopted already.",
        )
    ),
)
_OPTIONS = form.record(
    PlanOptions,
    prune=FLAG,
    adopt=FLAG,
    only=TEXTS,
    exclude=TEXTS,
    stop_live=TEXTS,
    wait_live=form.or_null(COUNT),
    allow_deletes=form.omitted(
        described(COUNT, "This many deletes of any one kind are allowed, also beyond the guardrails.")
    ),
    allow_updates=form.omitted(
        described(COUNT, "This many updates of any one kind are allowed, also beyond the guardrails.")
    ),
    allow_empty=form.omitted(described(TRUE, "A spec without resources is allowed.")),
    allow_missing=form.omitted(
        described(TRUE, "AWS may list none, or few, of the resources recorded at the last apply.")
    ),
    create_beside=form.omitted(
        described(
            TEXTS, "Addresses that are created although an unmanaged or orphaned resource has the same kind and name."
        )
    ),
    adopt_with_changes=form.omitted(described(TRUE, "An adoption may change fields as well.")),
    take_over=form.omitted(described(TEXTS, "Stacks whose resources may be adopted.")),
)
_SETTING = form.record(
    SettingChange,
    path=TEXT,
    before=form.or_null(TEXT),
    after=form.or_null(TEXT),
    widens=form.omitted(described(TRUE, "It widens what an apply may do.")),
)
_GUARDRAILS = form.record(
    Guardrails,
    max_deletes=form.or_null(COUNT),
    max_delete_percent=form.or_null(COUNT),
    max_updates=form.or_null(COUNT),
    max_update_percent=form.or_null(COUNT),
    on_live=form.choice(OnLive),
    live_deadline=COUNT,
)
SHARDS = described(
    form.converted(
        form.object_of(
            included=described(list_of(COUNT), "Their numbers, from 1."),
            total=described(COUNT, "How many shards the fleet has."),
        ),
        lambda content: Shards(**content),
        lambda shards: {"included": shards.included, "total": shards.total},
    ),
    "With --shard: the shards whose targets are listed.",
)
_PLAN = form.record(
    Plan,
    stack=TEXT,
    created_at=described(TEXT, "UTC, ISO 8601."),
    git_commit=form.or_null(TEXT),
    git_tree=form.omitted(described(TEXT, "The tree of gitCommit: the same for a merge commit without other changes.")),
    base=form.omitted(
        described(
            form.record(
                Base,
                name=TEXT,
                commit=TEXT,
                settings=form.omitted(
                    described(list_of(_SETTING), "What changed in the project file since the base, as JSON texts.")
                ),
                guardrails=form.omitted(
                    described(_GUARDRAILS, "Those of the base, if they differ: the stricter of both are used.")
                ),
            ),
            "What gitCommit will be merged into.",
        )
    ),
    of_revisions=form.omitted(
        described(TRUE, "The spec of base was used as live state; there are no steps, and it cannot be applied.")
    ),
    spec_digest=DIGEST,
    options=_OPTIONS,
    targets=list_of(form.defined("target", _TARGET)),
    failed=form.omitted(
        described(list_of(form.record(FailedTarget, name=TEXT, message=TEXT)), "Targets that could not be read.")
    ),
    shards=form.omitted(SHARDS),
)
PLAN, _TARGET_PLAN, _ACTION_PLAN = Format(_PLAN), Format(_TARGET), Format(_ACTION)
_HEAD = Format(form.object_of(formatVersion=form.version(FORMAT_VERSION)))

_NOT_COVERED = ("createdAt", "gitCommit", "gitTree", "base")


def dumps(plan: Plan) -> str:
    """Return the plan as the text of a plan file: the same plan gives the same text."""
    return "".join(lines(plan))


def lines(plan: Plan) -> Iterator[str]:
    """Yield the lines of a plan file, one for each action: a plan of 50,000 actions is never in memory a second time."""
    head = _head(plan)
    digests = _Digests(head)
    yield _before("targets", _shown(head)) + "\n"
    for number, target in enumerate(plan.targets, start=1):
        rest = _rest(target)
        digests.begin_target(rest)
        yield _before("actions", _shown(rest)) + "\n"
        for index, action in enumerate(target.actions, start=1):
            content = _ACTION_PLAN.write(action)
            digests.add_action(content)
            yield f"{_shown(content)}{',' if index < len(target.actions) else ''}\n"
        rest["fingerprint"] = digests.end_target()
        yield f"{_after('actions', _shown(rest))}{',' if number < len(plan.targets) else ''}\n"
    head["fingerprint"] = digests.end()
    yield _after("targets", _shown(head)) + "\n"


def fingerprint(target: TargetPlan) -> str:
    """Return ``sha256:`` and the digest of everything in one target's plan."""
    digests = _Digests({"targets": []})
    digests.begin_target(_rest(target))
    for action in target.actions:
        digests.add_action(_ACTION_PLAN.write(action))
    return digests.end_target()


def read_plan(parts: Iterable[str]) -> Plan:
    """Read the text of a plan file, which comes in parts of any size.

    Raises ``JsonError`` for text that is not JSON, ``UsageError`` for what is no plan of this format,
    ``PlanRefused`` for one that was changed after it was created.
    """
    stream = JsonStream(parts)
    try:
        return _read(stream)
    except FormatError as error:
        raise UsageError(f"not a usable plan: {error}; create one with plan --out FILE") from None
    except DuplicateKey as error:  # the fingerprint would be that of the last one, and a reader may see the first
        raise _changed(str(error)) from None
    except UnicodeEncodeError:  # JSON may have half a surrogate pair in a key, and no plan has
        raise _changed("a key is not text") from None


def _read(stream: JsonStream) -> Plan:
    """Read a plan. What was read has to be all there was: a key that reading passes over would escape the fingerprint."""
    if stream.peek() != "{":
        _HEAD.read(stream.value())
    head: dict[str, Any] = {}
    found: list[tuple[dict[str, Any], TargetPlan]] = []
    for name in stream.members():
        if name == "targets" and stream.peek() == "[":
            head[name], found = [], [_read_target(stream, f"/targets/{index}") for index in stream.items()]
        else:
            head[name] = stream.value()
            _HEAD.read({"formatVersion": FORMAT_VERSION, **head})  # before other problems of a file in another format
    stream.end()
    _HEAD.read(head)
    plan: Plan = PLAN.read(head)._replace(targets=tuple(target for _, target in found))
    written = _head(plan)
    digests = _Digests(written)
    for rest, target in found:
        again = _rest(target)
        digests.begin_target(again)
        for action in target.actions:
            digests.add_action(_ACTION_PLAN.write(action))
        if rest != {**again, "fingerprint": digests.end_target()}:
            raise _changed(f"target {target.name} does not match its fingerprint")
    if head != {**written, "fingerprint": digests.end()}:
        raise _changed("the file does not match its fingerprint")
    return plan


def _read_target(stream: JsonStream, place: str) -> tuple[dict[str, Any], TargetPlan]:
    """Read one target; return it with its JSON, whose list of actions is empty."""
    if stream.peek() != "{":
        _TARGET_PLAN.read(stream.value(), place)
    rest: dict[str, Any] = {}
    actions: list[Action] = []
    differs = False
    for name in stream.members():
        if name == "actions" and stream.peek() == "[":
            rest[name], actions = [], []
            for index in stream.items():
                content = stream.value()
                action = _ACTION_PLAN.read(content, f"{place}/actions/{index}")
                differs = differs or content != _ACTION_PLAN.write(action)
                actions.append(action)
        else:
            rest[name] = stream.value()
    target: TargetPlan = _TARGET_PLAN.read(rest, place)._replace(actions=tuple(actions))
    if differs:
        raise _changed(f"target {target.name} does not match its fingerprint")
    return rest, target


def _changed(why: str) -> PlanRefused:
    return PlanRefused(f"the plan file was changed after it was created ({why}); run plan again")


def _head(plan: Plan) -> dict[str, Any]:
    """Return the JSON of a plan without its targets."""
    return {"formatVersion": FORMAT_VERSION, **PLAN.write(plan._replace(targets=()))}


def _rest(target: TargetPlan) -> dict[str, Any]:
    """Return the JSON of a target's plan without its actions."""
    return _TARGET_PLAN.write(target._replace(actions=()))


class _Digests:
    """Computes the fingerprints of targets and of the whole plan: SHA-256 of JSON with sorted keys, which is fed an action at a time."""

    def __init__(self, head: Mapping[str, object]) -> None:
        self._head = _canonical({key: value for key, value in head.items() if key not in _NOT_COVERED})
        self._whole = hashlib.sha256(_before("targets", self._head).encode(errors="surrogatepass"))
        self._next_target = b""

    def begin_target(self, rest: Mapping[str, object]) -> None:
        self._rest = rest
        self._target = hashlib.sha256()
        self._whole.update(self._next_target)
        self._feed(_before("actions", _canonical(rest)))
        self._next_target, self._next_action = b",", ""

    def add_action(self, content: Mapping[str, object]) -> None:
        self._feed(self._next_action + _canonical(content))
        self._next_action = ","

    def end_target(self) -> str:
        self._target.update(_after("actions", _canonical(self._rest)).encode(errors="surrogatepass"))
        digest = f"sha256:{self._target.hexdigest()}"
        rest = _canonical({**self._rest, "fingerprint": digest})
        self._whole.update(_after("actions", rest).encode(errors="surrogatepass"))
        return digest

    def end(self) -> str:
        self._whole.update(_after("targets", self._head).encode())
        return f"sha256:{self._whole.hexdigest()}"

    def _feed(self, text: str) -> None:
        data = text.encode(errors="surrogatepass")
        self._target.update(data)
        self._whole.update(data)


def _canonical(content: Mapping[str, object]) -> str:
    return json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def _shown(content: Mapping[str, object]) -> str:
    return display_json(content, separators=(",", ":"))


def _before(member: str, text: str) -> str:
    """Return what is before the items of a list that is empty in an object's JSON. A string cannot contain what is searched: its quotes are escaped."""
    return text[: text.index(f'"{member}":[]') + len(member) + len('"":[')]


def _after(member: str, text: str) -> str:
    """Return what is after the items of a list that is empty in an object's JSON."""
    return text[text.index(f'"{member}":[]') + len(member) + len('"":[') :]
