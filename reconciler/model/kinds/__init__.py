"""The one table of kinds: one module for each service, one row for each kind.

A row says what a kind is called, which fields and operations it has, its place in the order of creation, its quota and its rate;
everything that is asked about kinds in general is derived from the rows here. A test checks every row against botocore's service model.
Names, defaults and operations are those of the service model and its documentation; where a default is undocumented, the row says what is assumed.

Adding a kind: a member of ``KindName``, a row, a spec model, a sandbox module and cases.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from reconciler.model.address import Address, KindName
from reconciler.model.kinds import ivs
from reconciler.model.kinds.row import BATCH_SIZE as BATCH_SIZE
from reconciler.model.kinds.row import TAG as TAG
from reconciler.model.kinds.row import UNTAG as UNTAG
from reconciler.model.kinds.row import Field as Field
from reconciler.model.kinds.row import Kind as Kind
from reconciler.model.kinds.row import Operation as Operation
from reconciler.model.kinds.row import Quota as Quota
from reconciler.model.kinds.row import Repeat as Repeat
from reconciler.model.kinds.row import Service as Service
from reconciler.model.kinds.row import Shape as Shape
from reconciler.model.values import Ref, Value

KINDS: Mapping[KindName, Kind] = {kind.name: kind for kind in ivs.ROWS}
"""Every kind, in the order of creation."""

LISTED: Mapping[KindName, Kind] = {name: kind for name, kind in KINDS.items() if kind.born_with is None}
"""The kinds with a section and a list of their own; the others exist inside one of these."""

INNER: Mapping[KindName, Kind] = {name: kind for name, kind in KINDS.items() if kind.born_with is not None}
"""The kinds that exist only inside another one."""

FIELDS: Mapping[KindName, Mapping[str, Field]] = {
    kind.name: {field.name: field for field in kind.fields} for kind in KINDS.values()
}

REFERENCES: Mapping[KindName, tuple[Field, ...]] = {
    kind.name: tuple(field for field in kind.fields if field.references is not None) for kind in LISTED.values()
}
"""By kind, the fields that refer to other kinds."""

USERS: Mapping[KindName, tuple[Kind, ...]] = {
    name: tuple(user for user in LISTED.values() if any(field.references is name for field in REFERENCES[user.name]))
    for name in KINDS
}
"""By kind, the kinds that refer to it."""

SERVICES: Mapping[str, Service] = {kind.service.client: kind.service for kind in KINDS.values()}
"""By the name of the client, the services that have kinds."""

OPERATIONS: Mapping[tuple[str, str], Operation] = {
    (service.client, name): operation
    for service in SERVICES.values()
    for operations in (service.operations, *(kind.operations for kind in KINDS.values() if kind.service is service))
    for name, operation in operations.items()
}
"""By client and name, every operation of the services that have kinds."""

_BORN: Mapping[KindName | None, Kind] = {kind.born_with: kind for kind in INNER.values()}
_BY_ARN: Mapping[tuple[str, str], Kind] = {(kind.service.prefix, kind.arn_type): kind for kind in KINDS.values()}


def parent_of(address: Address) -> Address:
    """Return the address of the resource that this one exists inside, or the address itself."""
    return Address(KINDS[address.kind].born_with or address.kind, address.id)


def born_in(kind: KindName) -> Kind | None:
    """Return the kind that is created together with resources of this one."""
    return _BORN.get(kind)


def inner_of(address: Address) -> Address | None:
    """Return the address of what is created together with this resource and exists only inside it."""
    inner = _BORN.get(address.kind)
    return None if inner is None else Address(inner.name, address.id)


def references_in(kind: KindName, properties: Mapping[str, Value]) -> Iterator[str | Ref]:
    """Yield what the properties of a resource refer to: ARNs, and references that are not resolved yet."""
    for field in REFERENCES.get(kind, ()):
        if field.name in properties:
            yield from field.referred(properties[field.name])


def kind_of(arn: str) -> Kind | None:
    """Return the kind that an ARN is one of, or ``None`` for other text."""
    parts = arn.split(":", 5)
    if len(parts) != 6 or parts[:2] != ["arn", "aws"]:
        return None
    return _BY_ARN.get((parts[2], parts[5].partition("/")[0]))
