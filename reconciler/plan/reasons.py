"""Why a resource is updated, and what counts as a difference of tags. Shared by everything that decides."""

from __future__ import annotations

from reconciler.diff import FieldChange, compare_tags, escape, unescape
from reconciler.model.resource import DesiredResource, LiveResource
from reconciler.model.tags import PROTECT, SPEC, comparable
from reconciler.plan.actions import Reason
from reconciler.plan.draft import Scene

RECORDS = frozenset({"/tags/" + escape(SPEC)})
"""Our own record of the spec that was last applied, as a path."""


def why_update(fields: tuple[FieldChange, ...], tags: tuple[FieldChange, ...]) -> tuple[Reason, str]:
    """Return the reason of an update in place, and its sentence."""
    if fields:
        return (
            Reason.PROPERTIES_DIFFER,
            f"{names_of(fields)} {'differs' if len({change.field for change in fields}) == 1 else 'differ'} from the spec",
        )
    if all(change.path in RECORDS for change in tags):
        return Reason.SPEC_RECORD, "nothing differs but our own record of the spec it was last applied from"
    keys = [unescape(change.path.removeprefix("/tags/")) for change in tags if change.path not in RECORDS]
    return Reason.TAGS_DIFFER, f"only tags differ from the spec: {', '.join(keys)}"


def tag_changes(scene: Scene, live: LiveResource, resource: DesiredResource) -> tuple[FieldChange, ...]:
    """Return the tags that differ, without those that the project ignores."""
    patterns = scene.desired.ignore_tags
    if not patterns:
        return compare_tags(live.tags, resource.tags, resource.ignore)
    return compare_tags(comparable(live.tags, patterns), comparable(resource.tags, patterns), resource.ignore)


def is_protected(live: LiveResource) -> bool:
    """Whether the live resource itself says that it is protected, whatever any file says."""
    return live.tags.get(PROTECT) == "true"


def names_of(changes: tuple[FieldChange, ...]) -> str:
    """Return the names of the fields that changes speak of, each once."""
    return ", ".join(dict.fromkeys(change.field for change in changes))
