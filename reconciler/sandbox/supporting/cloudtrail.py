"""CloudTrail's LookupEvents, answered from the call log, so that changes can be attributed.

Every IVS action is logged under the event source ivs.amazonaws.com (user guide: CloudTrail). The call log has masked
what the service model marks as sensitive.
"""

from __future__ import annotations

import json
import sqlite3
import uuid
from collections.abc import Callable
from typing import Any

from reconciler.sandbox.auth import Caller
from reconciler.sandbox.model import JsonDict
from reconciler.sandbox.registry import SERVICES, kind_of
from reconciler.sandbox.state import journal
from reconciler.sandbox.validation import MASK, iso8601
from reconciler.sandbox.wire import ApiError, is_number, parse_position

_MAX_RESULTS = 50
_BATCH = 500


def lookup_events(connection: sqlite3.Connection, caller: Caller, request: JsonDict) -> JsonDict:
    """Return a page of the matching events, newest first."""
    matches = _filter(request.get("LookupAttributes") or [])
    size = request.get("MaxResults", _MAX_RESULTS)
    if not isinstance(size, int) or isinstance(size, bool) or not 1 <= size <= _MAX_RESULTS:
        raise ApiError("InvalidMaxResultsException", f"MaxResults is between 1 and {_MAX_RESULTS}")
    since, until = _seconds(request.get("StartTime"), 0.0), _seconds(request.get("EndTime"), 1e12)
    if since > until:
        raise ApiError("InvalidTimeRangeException", "The start time is after the end time.")
    before = _position(request.get("NextToken"))
    found: list[JsonDict] = []
    while True:
        batch = journal.query(
            connection,
            services=SERVICES,
            account=caller.account,
            region=caller.region,
            since=since,
            until=until,
            limit=_BATCH,
            before=before,
        )
        for record in batch:
            before = record["seq"]
            event = _event(record)
            if matches(event):
                found.append(event)
                if len(found) == size:
                    return {"Events": found, "NextToken": str(before)}
        if len(batch) < _BATCH:
            return {"Events": found}


def _filter(attributes: object) -> Callable[[JsonDict], bool]:
    if not attributes:
        return lambda _event: True
    if not isinstance(attributes, list) or not all(isinstance(each, dict) for each in attributes):
        raise ApiError("SerializationException", "LookupAttributes is a list of structures.")
    if len(attributes) > 1:
        raise ApiError("InvalidLookupAttributesException", "You can only specify one lookup attribute.")
    key, value = attributes[0].get("AttributeKey"), attributes[0].get("AttributeValue")
    match key:
        case "EventId" | "EventName" | "ReadOnly" | "Username" | "EventSource" | "AccessKeyId":
            return lambda event: bool(event[key] == value)
        case "ResourceType" | "ResourceName":
            return lambda event: any(resource[key] == value for resource in event["Resources"])
        case _:
            raise ApiError("InvalidLookupAttributesException", "The lookup attribute key is not valid.")


def _event(record: JsonDict) -> JsonDict:
    event_id = str(uuid.uuid5(uuid.NAMESPACE_OID, record["request_id"]))
    user = record["user"].rpartition("/")[2]
    resources = _resources(record)
    source = f"{record['service']}.amazonaws.com"
    detail: JsonDict = {
        "eventVersion": "1.08",
        "userIdentity": {
            "type": "IAMUser",
            "principalId": record["access_key"],
            "arn": record["user"],
            "accountId": record["account"],
            "accessKeyId": record["access_key"],
            "userName": user,
        },
        "eventTime": iso8601(record["time"]),
        "eventSource": source,
        "eventName": record["operation"],
        "awsRegion": record["region"],
        "sourceIPAddress": record["source_ip"],
        "userAgent": record["user_agent"],
        "requestParameters": _without_secrets(record["parameters"]),
        "responseElements": _without_secrets(record["result"]),
        "requestID": record["request_id"],
        "eventID": event_id,
        "readOnly": record["read_only"],
        "eventType": "AwsApiCall",
        "managementEvent": True,
        "recipientAccountId": record["account"],
        "eventCategory": "Management",
    }
    if record["error_code"]:
        detail |= {"errorCode": record["error_code"], "errorMessage": record["error_message"]}
    return {
        "EventId": event_id,
        "EventName": record["operation"],
        "ReadOnly": "true" if record["read_only"] else "false",
        "AccessKeyId": record["access_key"],
        "EventTime": record["time"],
        "EventSource": source,
        "Username": user,
        "Resources": resources,
        "CloudTrailEvent": json.dumps(detail),
    }


def _without_secrets(value: Any) -> Any:
    """Return the value without masked members, which CloudTrail omits (user guide: CloudTrail)."""
    if not isinstance(value, dict):
        return value
    return {member: _without_secrets(given) for member, given in value.items() if given != MASK}


def _resources(record: JsonDict) -> list[JsonDict]:
    """Return the resources that a call names in its parameters, or created."""
    parameters, result = record["parameters"] or {}, record["result"] or {}
    arns = [parameters.get(member) for member in SERVICES[record["service"]].arn_members]
    arns += [part.get("arn") for part in result.values() if isinstance(part, dict)]
    named = dict.fromkeys(arn for arn in arns if arn)
    return [
        {"ResourceType": kind.cloudtrail_type if (kind := kind_of(arn)) else "AWS::IVS::Resource", "ResourceName": arn}
        for arn in named
    ]


def _position(token: str | None) -> int | None:
    if not token:
        return None
    before = parse_position(str(token))
    if before is None:
        raise ApiError("InvalidNextTokenException", "The token is not valid.")
    return before


def _seconds(value: object, default: float) -> float:
    if value is None:
        return default
    if not is_number(value):
        raise ApiError("InvalidTimeRangeException", "The time range is not valid.")
    return value
