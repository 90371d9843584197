"""The types of the table of kinds: services, kinds, fields, operations and quotas."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from enum import Enum, StrEnum
from typing import NamedTuple

from reconciler.model.address import KindName
from reconciler.model.values import Ref, Value

TAG = "TagResource"
UNTAG = "UntagResource"
"""The tag operations, with the same names and ``resourceArn`` in every service."""


class Repeat(Enum):
    """The effect of sending a call twice."""

    READ = "read"
    """Changes nothing."""
    SAME = "same"
    """The second call sets the same value."""
    DELETE = "delete"
    """The second call finds nothing."""
    ONCE = "once"
    """The second call has its effect again."""


class Operation(NamedTuple):
    """The published rate of an operation, in calls a second, and the effect of sending it twice."""

    rate: float
    repeat: Repeat


@dataclass(frozen=True, slots=True, eq=False)
class Service:
    """An AWS service with kinds.

    ``client`` is its name in boto3, ``prefix`` its name in ARNs, IAM actions, Service Quotas and CloudTrail.
    ``operations`` are those of no kind, including the tag operations.
    """

    client: str
    title: str
    prefix: str
    operations: Mapping[str, Operation]


class Quota(NamedTuple):
    """A quota with its default. ``code`` is its code in Service Quotas, if published; an ``adjustable`` quota is raised on request."""

    default: int
    adjustable: bool = False
    code: str = ""


class Shape(StrEnum):
    """How the values of a field are compared."""

    PLAIN = "plain"
    SET = "set"
    """A list without order; its canonical form is a sorted tuple without duplicates."""
    LIST = "list"
    """A list with order."""
    OBJECT = "object"
    REFERENCE = "reference"
    """The ARN of a resource of another kind; ``""`` for none (``"none"`` in one AWS guide)."""


@dataclass(frozen=True, slots=True, eq=False)
class Field:
    """One property of a kind, with its name in the API.

    ``default`` is the service's default, which the canonical form leaves out. ``default_from`` computes one that depends on other properties,
    and ``applies`` whether the field may be sent beside them.
    ``references`` is the kind whose ARNs the field holds: as its value, in a list, or in the member at ``path`` of an object.
    ``spec_name`` is the name in YAML, if different: a reference by id is ``recordingConfiguration``, by ARN ``recordingConfigurationArn``.
    ``together`` are fields that an update sends with this one because the service validates them together; ``together_if_set`` only if set.
    ``normalise`` removes members of an object that have no effect. ``off`` is the canonical value that disables an object whose default is on.
    ``send_all_members`` says that the object is sent with the defaults of its members.
    """

    name: str
    default: Value = None
    shape: Shape = Shape.PLAIN
    references: KindName | None = None
    path: tuple[str, ...] = ()
    spec_name: str = ""
    together: tuple[str, ...] = ()
    together_if_set: tuple[str, ...] = ()
    default_from: Callable[[Mapping[str, Value]], Value] | None = None
    applies: Callable[[Mapping[str, Value]], bool] = lambda _properties: True
    normalise: Callable[[dict[str, Value]], Mapping[str, Value]] = lambda value: value
    off: Value = None
    send_all_members: bool = False

    def default_beside(self, properties: Mapping[str, Value]) -> Value:
        """Return the service's default beside these other properties."""
        return self.default if self.default_from is None else self.default_from(properties)

    def referred(self, value: Value) -> Iterator[str | Ref]:
        """Yield the ARNs and unresolved references in a value of this field."""
        for member in self.path:
            value = value.get(member) if isinstance(value, Mapping) else None
        for item in value if isinstance(value, tuple) else (value,):
            if isinstance(item, Ref) or (isinstance(item, str) and item):
                yield item


class Output(NamedTuple):
    """A value of a resource that other systems need: the text at ``path`` of Get's answer, in a template. ``about`` describes it."""

    path: tuple[str, ...]
    about: str
    template: str = "{}"

    def text_in(self, item: Mapping[str, object]) -> str:
        """Return the text of a resource in an answer; empty if the answer has none."""
        value: object = item
        for member in self.path:
            value = value.get(member) if isinstance(value, dict) else None
        return value if isinstance(value, str) else ""

    def value_of(self, text: str) -> str:
        """Return the value made of that text; empty without one."""
        return self.template.format(text) if text else ""


@dataclass(frozen=True, slots=True, eq=False)
class Kind:
    """A kind of resource: one row of the table.

    ``rank`` orders creation: a kind refers only to kinds of lower rank. ``rate`` is the published rate of its operations.
    ``identifier`` is the parameter for the resource in Get, Update and Delete.
    ``member`` is the key of the resource in an answer, ``None`` if the answer is the resource; ``members`` the key of the list.
    ``update`` is ``None`` without an update operation: a change is then a replacement. ``update_is_scoped``: IAM checks updates by resource.
    ``batch`` reads up to ``BATCH_SIZE`` resources by ``arns``. ``summary_complete``: a list summary has every field.
    ``ready`` is the state to wait for after a create, ``failed`` the one that ends the wait.
    ``quota`` is the published quota per account and region.
    ``created_with`` is the kind whose create also creates a resource of this kind, with the same id.
    ``live``: the resource can have a live stream, during which it cannot be updated or deleted.
    ``unique`` is a field whose values are unique in a region, computed from the field with ``spec_name``.
    ``value_member`` is the member of Get's answer with a secret value. ``credential``: the resource grants access.
    ``outputs`` are the values that other systems need besides ARN and name, by the name that they have for users; none is secret.
    """

    service: Service
    name: KindName
    section: str
    title: str
    arn_type: str
    rank: int
    rate: float
    fields: tuple[Field, ...]
    create: str
    get: str
    list: str
    delete: str
    member: str | None
    members: str
    identifier: str = "arn"
    update: str | None = None
    update_is_scoped: bool = True
    batch: str | None = None
    page_size: int = 100
    summary_complete: bool = False
    ready: str | None = None
    failed: str | None = None
    quota: Quota | None = None
    created_with: KindName | None = None
    live: bool = False
    unique: str = ""
    value_member: str = ""
    credential: bool = False
    outputs: Mapping[str, Output] = field(default_factory=dict)

    @property
    def titles(self) -> str:
        """The plural of the title."""
        return self.title[:-1] + "ies" if self.title.endswith("cy") else self.title + "s"

    def with_count(self, count: int, what: str = "") -> str:
        """Return a number of resources of this kind in words: ``1 channel``, ``2,000 channels``; ``what`` comes before the kind."""
        return f"{count:,} {f'{what} ' if what else ''}{self.title if count == 1 else self.titles}"

    @property
    def arn_path(self) -> str:
        """The path of the ARN in an answer, such as ``channel.arn``."""
        return "arn" if self.member is None else f"{self.member}.arn"

    @property
    def operations(self) -> Mapping[str, Operation]:
        """The operations of this kind by name."""
        repeats = {
            self.create: Repeat.ONCE,
            self.get: Repeat.READ,
            self.list: Repeat.READ,
            self.batch: Repeat.READ,
            self.update: Repeat.SAME,
            self.delete: Repeat.DELETE,
        }
        return {name: Operation(self.rate, repeat) for name, repeat in repeats.items() if name is not None}

    def resource_in(self, answer: Mapping[str, object]) -> Mapping[str, object] | None:
        """Return the resource in an answer, or ``None``."""
        found = answer if self.member is None else answer.get(self.member)
        return found if isinstance(found, Mapping) and "arn" in found else None


BATCH_SIZE = 50
"""Maximum ARNs of a batch read (service model)."""
