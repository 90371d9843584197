"""The three tag operations, for every kind of resource."""

from __future__ import annotations

from reconciler.sandbox.ivs.common import KINDS, Call, not_found, refuse, validation
from reconciler.sandbox.ivs.rules import tag_problems, too_many_tags
from reconciler.sandbox.model import JsonDict
from reconciler.sandbox.world import Row


def tag_resource(call: Call, request: JsonDict) -> JsonDict:
    """Add and overwrite; tags not named stay. The limit counts after the merge (assumed)."""
    row = target(request["resourceArn"], call.world.find(request["resourceArn"]))
    tags = {**row.document.get("tags", {}), **request["tags"]}
    refuse([*tag_problems(call.settings.assume, request), *too_many_tags(tags)])
    call.world.replace(row, {**row.document, "tags": tags})
    return {}


def untag_resource(call: Call, request: JsonDict) -> JsonDict:
    """Remove; keys that are not there are fine (assumed)."""
    row = target(request["resourceArn"], call.world.find(request["resourceArn"]))
    refuse(tag_problems(call.settings.assume, request))
    present = row.document.get("tags", {})
    tags = {key: value for key, value in present.items() if key not in request["tagKeys"]}
    call.world.replace(row, {**row.document, "tags": tags})
    return {}


def list_tags_for_resource(call: Call, request: JsonDict) -> JsonDict:
    """All tags in one answer (document history: paging was removed)."""
    row = target(request["resourceArn"], call.world.see(request["resourceArn"]))
    return {"tags": row.document.get("tags", {})}


def target(arn: str, row: Row | None) -> Row:
    """Return the tagged resource. These operations do not model AccessDenied, so foreign is not found."""
    if arn.split(":")[5].partition("/")[0] not in KINDS:
        raise validation(f"resourceArn: {arn} is not a taggable resource")
    if row is None:
        raise not_found(arn)
    return row
