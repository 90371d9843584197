"""CloudFormation's DescribeStackResources, for resources that the control API put into stacks.

CloudFormation marks its resources with three system tags (user guide: resource tags). The API finds a resource's stack by its physical id,
which for IVS is the ARN, and returns the resources of that stack, at most 100 (API reference: DescribeStackResources).
What happens to tags and answers once a resource has left its stack with DeletionPolicy Retain is assumed.
"""

from __future__ import annotations

import json
import sqlite3
import uuid
from collections.abc import Mapping
from html import escape

from reconciler.sandbox.auth import Caller
from reconciler.sandbox.model import JsonDict
from reconciler.sandbox.registry import kind_of
from reconciler.sandbox.validation import iso8601
from reconciler.sandbox.wire import ApiError, json_text

VERSION = "2010-05-15"
NAMESPACE = f"http://cloudformation.amazonaws.com/doc/{VERSION}/"
PREFIX = "aws:cloudformation:"
_STORED = "cloudformation:"
_MOST = 100
_HELD = "CREATE_COMPLETE"
_SKIPPED = "DELETE_SKIPPED"


def join(connection: sqlite3.Connection, arn: str, stack: str, logical_id: str, now: float) -> dict[str, str]:
    """Put a resource into a stack and return its system tags."""
    _, _, _, region, account, _ = arn.split(":", 5)
    identifier = uuid.uuid5(uuid.NAMESPACE_OID, f"{account}/{region}/{stack}")
    kind = kind_of(arn)
    member = {
        "StackName": stack,
        "StackId": f"arn:aws:cloudformation:{region}:{account}:stack/{stack}/{identifier}",
        "LogicalResourceId": logical_id,
        "PhysicalResourceId": arn,
        "ResourceType": kind.cloudtrail_type if kind else "",
        "Timestamp": iso8601(now),
        "ResourceStatus": _HELD,
    }
    _store(connection, member)
    return {f"{PREFIX}stack-name": stack, f"{PREFIX}stack-id": member["StackId"], f"{PREFIX}logical-id": logical_id}


def leave(connection: sqlite3.Connection, arn: str, now: float) -> bool:
    """Let a resource leave its stack, as with DeletionPolicy Retain; return whether it was in one."""
    member = _members(connection).get(arn)
    if member is None or member["ResourceStatus"] != _HELD:
        return False
    _store(connection, {**member, "ResourceStatus": _SKIPPED, "Timestamp": iso8601(now)})
    return True


def describe_stack_resources(
    connection: sqlite3.Connection, caller: Caller, form: Mapping[str, str], *, with_skipped: bool
) -> str:
    """Return the result of the operation as XML. Raises ApiError. ``with_skipped``: resources that have left are still found."""
    name, physical, logical = (form.get(what, "") for what in ("StackName", "PhysicalResourceId", "LogicalResourceId"))
    if bool(name) == bool(physical):
        raise ApiError("ValidationError", "You must specify either StackName or PhysicalResourceId, but not both.")
    place = (caller.region, caller.account)
    members = [
        member
        for arn, member in _members(connection).items()
        if tuple(arn.split(":")[3:5]) == place and (with_skipped or member["ResourceStatus"] == _HELD)
    ]
    stacks = {
        member["StackId"]
        for member in members
        if physical == member["PhysicalResourceId"] or (name and name in (member["StackName"], member["StackId"]))
    }
    if not stacks:
        what = f"Stack for {physical}" if physical else f"Stack with id {name}"
        raise ApiError("ValidationError", f"{what} does not exist")
    found = [one for one in members if one["StackId"] in stacks and logical in ("", one["LogicalResourceId"])]
    return "".join(
        "<member>" + "".join(f"<{key}>{escape(value)}</{key}>" for key, value in member.items()) + "</member>"
        for member in found[:_MOST]
    )


def _members(connection: sqlite3.Connection) -> dict[str, JsonDict]:
    """Return the resources that are or were in stacks, by ARN."""
    rows = connection.execute(
        "SELECT name, value FROM settings WHERE name >= ? AND name < ? ORDER BY name", (_STORED, _STORED[:-1] + ";")
    )
    return {name.removeprefix(_STORED): json.loads(value) for name, value in rows}


def _store(connection: sqlite3.Connection, member: JsonDict) -> None:
    connection.execute(
        "INSERT OR REPLACE INTO settings VALUES (?, ?)", (_STORED + member["PhysicalResourceId"], json_text(member))
    )
