"""The table of kinds: one module per service, one row per kind.

A row has the names, fields, operations, creation order, quota and rate of a kind, from the service model and its documentation;
the lookups below are derived from the rows. The quotas that apply to an account are read from Service Quotas. A test checks every row against botocore's service model.
To add a kind, add a member of ``KindName``, a row, a spec model, a sandbox module and cases.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import NamedTuple

from reconciler.model.address import Address, KindName
from reconciler.model.kinds import ivs
from reconciler.model.kinds.row import BATCH_SIZE as BATCH_SIZE
from reconciler.model.kinds.row import TAG as TAG
from reconciler.model.kinds.row import UNTAG as UNTAG
from reconciler.model.kinds.row import Field as Field
from reconciler.model.kinds.row import Kind as Kind
from reconciler.model.kinds.row import Operation as Operation
from reconciler.model.kinds.row import Output as Output
from reconciler.model.kinds.row import Quota as Quota
from reconciler.model.kinds.row import Repeat as Repeat
from reconciler.model.kinds.row import Service as Service
from reconciler.model.kinds.row import Shape as Shape
from reconciler.model.values import Ref, Value

KINDS: Mapping[KindName, Kind] = {kind.name: kind for kind in ivs.ROWS}
"""Every kind, in the order of creation."""

LISTED: Mapping[KindName, Kind] = {name: kind for name, kind in KINDS.items() if kind.created_with is None}
"""The kinds with a section in the spec and a list operation."""

CHILD_KINDS: Mapping[KindName, Kind] = {name: kind for name, kind in KINDS.items() if kind.created_with is not None}
"""The kinds whose resources belong to one of another kind, such as stream keys."""

FIELDS: Mapping[KindName, Mapping[str, Field]] = {
    kind.name: {field.name: field for field in kind.fields} for kind in KINDS.values()
}

REFERENCES: Mapping[KindName, tuple[Field, ...]] = {
    kind.name: tuple(field for field in kind.fields if field.references is not None) for kind in LISTED.values()
}
"""By kind, the fields that refer to resources of other kinds."""

USERS: Mapping[KindName, tuple[Kind, ...]] = {
    name: tuple(user for user in LISTED.values() if any(field.references is name for field in REFERENCES[user.name]))
    for name in KINDS
}
"""By kind, the kinds that refer to it."""

SERVICES: Mapping[str, Service] = {kind.service.client: kind.service for kind in KINDS.values()}
"""By client name, the services with kinds."""

OPERATIONS: Mapping[tuple[str, str], Operation] = {
    (service.client, name): operation
    for service in SERVICES.values()
    for operations in (service.operations, *(kind.operations for kind in KINDS.values() if kind.service is service))
    for name, operation in operations.items()
}
"""By client and operation name, the operations of the services with kinds."""

CREATED_BY: Mapping[str, KindName] = {kind.create: name for name, kind in KINDS.items()}
DELETED_BY: Mapping[str, KindName] = {kind.delete: name for name, kind in KINDS.items()}
"""By operation, the kind that it creates or deletes."""

QUOTAS: Mapping[KindName, Quota] = {kind.name: kind.quota for kind in KINDS.values() if kind.quota is not None}
"""By kind, the quota on its resources per account and region."""

DEFAULT_QUOTAS: Mapping[KindName, int] = {kind: quota.default for kind, quota in QUOTAS.items()}
"""By kind, the documented default of its quota."""

RATE_SHARE = 0.99
"""The share of the published rate that is used; the rest absorbs network jitter."""

RATES: Mapping[tuple[str, str], float] = {key: operation.rate for key, operation in OPERATIONS.items()}
"""By client and operation, the published rate in calls a second."""

UNPUBLISHED_RATE = 3.0
"""The rate assumed for an unknown operation: the lowest common one."""

OUTPUT_NAMES: tuple[str, ...] = tuple(
    dict.fromkeys(("arn", "name", *(name for kind in KINDS.values() for name in kind.outputs), "storedIn"))
)
"""The names of outputs, in the order in which they are shown; ``storedIn`` is where a stream key's value is kept."""

_CHILDREN: Mapping[KindName | None, Kind] = {kind.created_with: kind for kind in CHILD_KINDS.values()}
_BY_ARN: Mapping[tuple[str, str], Kind] = {(kind.service.prefix, kind.arn_type): kind for kind in KINDS.values()}


def parent_of(address: Address) -> Address:
    """Return the address of the resource that this one belongs to, or the address itself."""
    return Address(KINDS[address.kind].created_with or address.kind, address.id)


def child_kind_of(kind: KindName) -> Kind | None:
    """Return the kind that is created together with resources of this kind, or ``None``."""
    return _CHILDREN.get(kind)


def child_of(address: Address) -> Address | None:
    """Return the address of the resource that is created together with this one, or ``None``."""
    child = _CHILDREN.get(address.kind)
    return None if child is None else Address(child.name, address.id)


def references_in(kind: KindName, properties: Mapping[str, Value]) -> Iterator[str | Ref]:
    """Yield the ARNs and unresolved references in the properties of a resource."""
    for reference in REFERENCES.get(kind, ()):
        if reference.name in properties:
            yield from reference.referred(properties[reference.name])


def kind_of(arn: str) -> Kind | None:
    """Return the kind of the resource with this ARN, or ``None``."""
    parts = arn.split(":", 5)
    if len(parts) != 6 or parts[:2] != ["arn", "aws"]:
        return None
    return _BY_ARN.get((parts[2], parts[5].partition("/")[0]))


class AppliedQuotas(NamedTuple):
    """The applied quotas, by code. ``error`` says why they are unknown; the documented defaults hold then."""

    by_code: Mapping[str, int] = {}
    error: str = ""

    def value(self, quota: Quota) -> int:
        """Return the limit that applies."""
        return self.by_code.get(quota.code, quota.default) if quota.code else quota.default

    def is_applied(self, quota: Quota) -> bool:
        """Return whether the limit is from Service Quotas."""
        return bool(quota.code) and quota.code in self.by_code

    @property
    def limits(self) -> Mapping[KindName, int]:
        """The limits by kind."""
        return {kind: self.value(quota) for kind, quota in QUOTAS.items()}


def pace_of(service: str, operation: str, rates: Mapping[tuple[str, str], float] = RATES) -> float:
    """Return the pace of an operation in calls a second, if it is never throttled."""
    return RATE_SHARE * rates.get((service, operation), UNPUBLISHED_RATE)
