"""What a row of the table of kinds says: a service, a kind of resource, its fields, its operations and its limits."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from enum import Enum, StrEnum

from reconciler.model.address import KindName
from reconciler.model.values import Ref, Value

TAG = "TagResource"
UNTAG = "UntagResource"
"""The tag operations, which have these names in every service; ``resourceArn`` names the resource."""


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


@dataclass(frozen=True, slots=True)
class Operation:
    """The published rate of an operation, in calls a second, and the effect of sending it twice."""

    rate: float
    repeat: Repeat


@dataclass(frozen=True, slots=True, eq=False)
class Service:
    """An AWS service that has kinds.

    ``client`` is boto3's name of it. ``prefix`` is its name in ARNs, IAM actions, Service Quotas and CloudTrail, which may differ.
    ``operations`` are those that belong to no kind, the tag operations included.
    """

    client: str
    title: str
    prefix: str
    operations: Mapping[str, Operation]


@dataclass(frozen=True, slots=True)
class Quota:
    """How many AWS allows by default. ``code`` is the code in Service Quotas, where one is published; AWS raises what is ``adjustable`` on request."""

    default: int
    adjustable: bool = False
    code: str = ""


class Shape(StrEnum):
    """How the values of a field are compared."""

    PLAIN = "plain"
    SET = "set"
    """A list whose order and repetitions mean nothing; canonical form is a sorted tuple without repetitions."""
    LIST = "list"
    """A list whose order means something."""
    OBJECT = "object"
    REFERENCE = "reference"
    """The ARN of another kind's resource; ``""`` (or ``"none"``, seen in one AWS guide) if there is none."""


@dataclass(frozen=True, slots=True, eq=False)
class Field:
    """One property of a kind, named as the API names it.

    ``default`` is what the service assumes if the field is left out; the canonical form leaves such a value out.
    ``default_from`` computes the default from the other properties, where it depends on them, and ``applies`` whether the field may be sent beside them.
    ``references`` is the kind whose ARNs the field holds: its value, each item of a list, or the member at ``path`` of an object.
    ``spec_name`` is the field's name in YAML where that differs: a reference is written ``recordingConfiguration`` by id, ``recordingConfigurationArn`` by ARN.
    ``together`` names the fields that are sent with this one in an update, because the service judges them together;
    ``together_if_set`` those that are sent only if they have a value.
    ``settle`` removes from an object what has no effect beside its other members. ``off`` is the canonical value that disables an object
    whose default is not off. ``send_all_members`` says that the object is sent with the defaults of its members.
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
    settle: Callable[[dict[str, Value]], Mapping[str, Value]] = lambda value: value
    off: Value = None
    send_all_members: bool = False

    def referred(self, value: Value) -> Iterator[str | Ref]:
        """Yield what a value of this field refers to: ARNs, and references that are not resolved yet."""
        for member in self.path:
            value = value.get(member) if isinstance(value, Mapping) else None
        for item in value if isinstance(value, tuple) else (value,):
            if isinstance(item, Ref) or (isinstance(item, str) and item):
                yield item


@dataclass(frozen=True, slots=True, eq=False)
class Kind:
    """One row.

    ``rank`` orders creation: a kind refers only to kinds of lower rank. ``rate`` is the published rate of its operations.
    ``identifier`` is the parameter that names a resource in Get, Update and Delete.
    ``member`` is the key of the resource in an answer, ``None`` where the answer is the resource; ``members`` that of the list.
    ``update`` is ``None`` where the service has no such operation: a change is then a replacement.
    ``update_is_scoped`` says that IAM checks an update against the resource.
    ``batch`` reads up to ``BATCH_SIZE`` resources by ``arns``, where the service has such an operation.
    ``summary_complete`` says that a list summary carries every field, so that no Get is needed.
    ``ready`` is the state to wait for after a create, ``failed`` the one that ends the wait.
    ``quota`` is the quota per account and region, ``None`` where none is published or it counts something else.
    ``born_with`` is the kind whose create also creates one of this kind; it exists only inside that one and has the same id.
    ``live`` says that the resource may have a live stream, while which it can be neither updated nor deleted.
    ``unique`` is the field of which a value exists once in a region, computed from what ``spec_name`` sends at creation.
    ``value_member`` is the member of Get's answer that holds a secret value. ``credential`` says that the resource grants access.
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
    born_with: KindName | None = None
    live: bool = False
    unique: str = ""
    value_member: str = ""
    credential: bool = False

    @property
    def titles(self) -> str:
        """The title of several."""
        return self.title[:-1] + "ies" if self.title.endswith("cy") else self.title + "s"

    @property
    def arn_path(self) -> str:
        """Where an answer holds the ARN of the one resource, such as ``channel.arn``."""
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
        """Return the one resource in an answer, or ``None`` if the answer does not contain it."""
        found = answer if self.member is None else answer.get(self.member)
        return found if isinstance(found, Mapping) and "arn" in found else None


BATCH_SIZE = 50
"""ARNs that a batch read accepts (service model)."""
