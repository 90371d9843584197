"""What a resource was last applied as, where somebody remembers it; with that, two changes that met on one resource can be told apart.

The spec tag of a live resource names the spec it was last applied from, by digest.
When the spec has changed since, a field that differs may have been changed by the spec, outside, or both; the digest alone does not say.
A record of the spec with that very digest does: what differs from the record was changed outside, the rest waits to be applied.
A record with another digest says nothing about the resource and is not used.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from reconciler.diff import compare, compare_tags
from reconciler.model.address import Address
from reconciler.model.resource import DesiredResource
from reconciler.model.tags import SPEC
from reconciler.model.values import Ref, Value
from reconciler.plan.actions import Action, FieldChange


@dataclass(frozen=True, slots=True)
class Applied:
    """The spec of one resource as it was last applied. ``arn`` is empty where it was not known; properties may hold ``Ref``s.

    ``ignore`` is what was not looked at then, so that nothing is known of it.
    """

    digest: str
    properties: Mapping[str, Value]
    tags: Mapping[str, str]
    arn: str = ""
    ignore: frozenset[str] = frozenset()


def changed_outside(
    action: Action, spec: DesiredResource, applied: Applied | None, arns: Mapping[Address, str]
) -> tuple[FieldChange, ...] | None:
    """Return which of an action's changes were made outside since the last apply, or ``None`` where nobody can tell.

    ``arns`` gives the live resource of each address, which is what a recorded reference meant.
    """
    live = action.observed
    if applied is None or live is None or live.tags.get(SPEC) != applied.digest:
        return None
    before = {
        name: arns.get(value.address, value) if isinstance(value, Ref) else value
        for name, value in applied.properties.items()
    }
    ignore = spec.ignore | applied.ignore
    moved = (
        *compare(action.kind, live.properties, before, ignore=ignore),
        *compare_tags(live.tags, applied.tags, ignore),
    )
    paths = [change.path for change in moved]
    return tuple(change for change in action.changes if any(_meet(change.path, path) for path in paths))


def _meet(path: str, other: str) -> bool:
    """Whether one path is the other or lies inside it."""
    return path == other or path.startswith(other + "/") or other.startswith(path + "/")
