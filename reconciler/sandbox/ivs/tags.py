"""The tag operations, for every kind of resource."""

from __future__ import annotations

from reconciler.sandbox.ivs.rules import too_many_tags
from reconciler.sandbox.model import JsonDict
from reconciler.sandbox.service import Call, not_found, refuse, validation
from reconciler.sandbox.state.world import Row


def tag_resource(call: Call, request: JsonDict) -> JsonDict:
    """Add or overwrite tags; the limit applies to the result (assumed)."""
    row = _tagged(call, request["resourceArn"], call.world.find(request["resourceArn"]))
    tags = {**row.document.get("tags", {}), **request["tags"]}
    refuse(too_many_tags(tags))
    call.world.replace(row, {**row.document, "tags": tags})
    return {}


def untag_resource(call: Call, request: JsonDict) -> JsonDict:
    """Remove tags; keys that are not present are ignored (assumed)."""
    row = _tagged(call, request["resourceArn"], call.world.find(request["resourceArn"]))
    present = row.document.get("tags", {})
    tags = {key: value for key, value in present.items() if key not in request["tagKeys"]}
    call.world.replace(row, {**row.document, "tags": tags})
    return {}


def list_tags_for_resource(call: Call, request: JsonDict) -> JsonDict:
    """Return all tags in one answer (document history: paging was removed)."""
    row = _tagged(call, request["resourceArn"], call.world.visible(request["resourceArn"]))
    return {"tags": row.document.get("tags", {})}


def _tagged(call: Call, arn: str, row: Row | None) -> Row:
    """Return the tagged resource; another account's is not found, as these operations do not model AccessDenied."""
    if arn.split(":")[5].partition("/")[0] not in call.service.kinds:
        raise validation(f"resourceArn: {arn} is not a taggable resource")
    if row is None:
        raise not_found(arn)
    return row
