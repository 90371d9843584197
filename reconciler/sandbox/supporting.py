"""Calls to supporting services: found by target header or form body on POST /, and answered.

STS (GetCallerIdentity, AssumeRole) and CloudFormation (DescribeStackResources) speak the XML of the query protocol, the others JSON 1.1.
Every role exists and trusts every caller, unless AssumeRole is denied. Service Quotas gives the applied and the default resource quotas of the emulated services.

CloudFormation marks its resources with three system tags (user guide: resource tags). The API finds a resource's stack by its physical id,
which for IVS is the ARN, and returns the resources of that stack, at most 100 (API reference: DescribeStackResources).
What happens to tags and answers once a resource has left its stack with DeletionPolicy Retain is assumed.

CloudTrail's LookupEvents is answered from the call log, so that changes can be attributed. Every IVS action is logged under the event source
ivs.amazonaws.com (user guide: CloudTrail). The call log has masked what the service model marks as sensitive.
"""

from __future__ import annotations

import hashlib
import json
import re
import sqlite3
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from html import escape
from typing import Any
from urllib.parse import parse_qs

from reconciler.sandbox.auth import Caller, issue
from reconciler.sandbox.model import MASK, JsonDict, iso8601, violation_text
from reconciler.sandbox.registry import SERVICES, kind_of
from reconciler.sandbox.service import Service
from reconciler.sandbox.settings import Assumptions, ResourceQuota, applied_quota
from reconciler.sandbox.state.logs import find_calls
from reconciler.sandbox.state.world import decode_token, encode_token
from reconciler.sandbox.wire import (
    ApiError,
    Request,
    Response,
    is_number,
    json_bytes,
    json_text,
    parse_body,
    parse_position,
)

Handler = Callable[[sqlite3.Connection, Caller, JsonDict], JsonDict]

_MAX_QUOTAS = 100


def _list_services(connection: sqlite3.Connection, caller: Caller, request: JsonDict) -> JsonDict:  # noqa: ARG001 - one signature for all
    """List the services that have quotas here."""
    services = [{"ServiceCode": service.name, "ServiceName": service.title} for service in SERVICES.values()]
    return _quota_page("services", "Services", services, request)


def _quota_lister(*, applied: bool) -> Handler:
    """Return the handler that lists the quotas applied to the caller's account and region, or the defaults."""

    def list_quotas(connection: sqlite3.Connection, caller: Caller, request: JsonDict) -> JsonDict:
        service = _quota_service(request)
        code = request.get("QuotaCode") if applied else None
        entries = [
            _quota_entry(connection, caller, service, quota, applied=applied)
            for quota in service.quotas
            if code in (None, _quota_code(quota))
        ]
        return _quota_page("applied" if applied else "default", "Quotas", entries, request)

    return list_quotas


def _quota_getter(*, applied: bool) -> Handler:
    """Return the handler that answers one applied or default quota by its code."""

    def get_quota(connection: sqlite3.Connection, caller: Caller, request: JsonDict) -> JsonDict:
        service = _quota_service(request)
        for quota in service.quotas:
            if _quota_code(quota) == request.get("QuotaCode"):
                return {"Quota": _quota_entry(connection, caller, service, quota, applied=applied)}
        raise _no_such_quota()

    return get_quota


def _quota_code(quota: ResourceQuota) -> str:
    """Return the published code (AWS General Reference), or an invented one if there is none."""
    return quota.code or "L-" + hashlib.sha256(quota.name.encode()).hexdigest()[:8].upper()


def _quota_service(request: JsonDict) -> Service:
    code = request.get("ServiceCode")
    if not isinstance(code, str):
        raise ApiError("IllegalArgumentException", "ServiceCode is required.")
    if code not in SERVICES:
        raise _no_such_quota()
    return SERVICES[code]


def _no_such_quota() -> ApiError:
    return ApiError(
        "NoSuchResourceException", "The request failed because the specified service or quota does not exist."
    )


def _quota_page(listing: str, member: str, entries: list[JsonDict], request: JsonDict) -> JsonDict:
    """Return one page of a listing, with the token of the next one."""
    size = request.get("MaxResults", _MAX_QUOTAS)
    if not isinstance(size, int) or isinstance(size, bool) or not 1 <= size <= _MAX_QUOTAS:
        raise ApiError("IllegalArgumentException", f"MaxResults is between 1 and {_MAX_QUOTAS}.")
    token = request.get("NextToken")
    try:
        start = 0 if token is None else decode_token(str(token), listing)[0]
    except ApiError:
        raise ApiError("InvalidPaginationTokenException", "The pagination token is invalid.") from None
    answer: JsonDict = {member: entries[start : start + size]}
    if start + size < len(entries):
        answer["NextToken"] = encode_token(start + size, listing)
    return answer


def _quota_entry(
    connection: sqlite3.Connection, caller: Caller, service: Service, quota: ResourceQuota, *, applied: bool
) -> JsonDict:
    value = applied_quota(connection, quota, caller.account, caller.region) if applied else quota.default
    code = _quota_code(quota)
    return {
        "ServiceCode": service.name,
        "ServiceName": service.title,
        "QuotaArn": f"arn:aws:servicequotas:{caller.region}:{caller.account}:{service.name}/{code}",
        "QuotaCode": code,
        "QuotaName": quota.title,
        "Value": float(value),
        "Unit": "None",
        "Adjustable": quota.adjustable,
        "GlobalQuota": False,
        "QuotaAppliedAtLevel": "ACCOUNT",
    }


_CLOUDFORMATION_VERSION = "2010-05-15"
_CLOUDFORMATION_NAMESPACE = f"http://cloudformation.amazonaws.com/doc/{_CLOUDFORMATION_VERSION}/"
STACK_TAG_PREFIX = "aws:cloudformation:"
_MEMBER_PREFIX = "cloudformation:"
_MAX_STACK_RESOURCES = 100
_IN_STACK = "CREATE_COMPLETE"
_LEFT_STACK = "DELETE_SKIPPED"


def add_to_stack(connection: sqlite3.Connection, arn: str, stack: str, logical_id: str, now: float) -> dict[str, str]:
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
        "ResourceStatus": _IN_STACK,
    }
    _store_member(connection, member)
    return {
        f"{STACK_TAG_PREFIX}stack-name": stack,
        f"{STACK_TAG_PREFIX}stack-id": member["StackId"],
        f"{STACK_TAG_PREFIX}logical-id": logical_id,
    }


def remove_from_stack(connection: sqlite3.Connection, arn: str, now: float) -> bool:
    """Remove a resource from its stack, as with DeletionPolicy Retain; return whether it was in one."""
    member = _stack_members(connection).get(arn)
    if member is None or member["ResourceStatus"] != _IN_STACK:
        return False
    _store_member(connection, {**member, "ResourceStatus": _LEFT_STACK, "Timestamp": iso8601(now)})
    return True


def _describe_stack_resources(
    connection: sqlite3.Connection, caller: Caller, form: Mapping[str, str], *, with_skipped: bool
) -> str:
    """Return the result of the operation as XML. Raises ApiError. ``with_skipped``: resources that have left are still found."""
    name, physical, logical = (form.get(what, "") for what in ("StackName", "PhysicalResourceId", "LogicalResourceId"))
    if bool(name) == bool(physical):
        raise ApiError("ValidationError", "You must specify either StackName or PhysicalResourceId, but not both.")
    place = (caller.region, caller.account)
    members = [
        member
        for arn, member in _stack_members(connection).items()
        if tuple(arn.split(":")[3:5]) == place and (with_skipped or member["ResourceStatus"] == _IN_STACK)
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
        for member in found[:_MAX_STACK_RESOURCES]
    )


def _stack_members(connection: sqlite3.Connection) -> dict[str, JsonDict]:
    """Return the resources that are or were in stacks, by ARN."""
    rows = connection.execute(
        "SELECT name, value FROM settings WHERE name >= ? AND name < ? ORDER BY name",
        (_MEMBER_PREFIX, _MEMBER_PREFIX[:-1] + ";"),
    )
    return {name.removeprefix(_MEMBER_PREFIX): json.loads(value) for name, value in rows}


def _store_member(connection: sqlite3.Connection, member: JsonDict) -> None:
    connection.execute(
        "INSERT OR REPLACE INTO settings VALUES (?, ?)",
        (_MEMBER_PREFIX + member["PhysicalResourceId"], json_text(member)),
    )


_JSON_11 = "application/x-amz-json-1.1"
_MAX_EVENTS = 50
_EVENT_BATCH = 500


def _lookup_events(connection: sqlite3.Connection, caller: Caller, request: JsonDict) -> JsonDict:
    """Return a page of the matching events, newest first."""
    matches = _event_filter(request.get("LookupAttributes") or [])
    size = request.get("MaxResults", _MAX_EVENTS)
    if not isinstance(size, int) or isinstance(size, bool) or not 1 <= size <= _MAX_EVENTS:
        raise ApiError("InvalidMaxResultsException", f"MaxResults is between 1 and {_MAX_EVENTS}")
    since, until = _event_time(request.get("StartTime"), 0.0), _event_time(request.get("EndTime"), 1e12)
    if since > until:
        raise ApiError("InvalidTimeRangeException", "The start time is after the end time.")
    before = _event_position(request.get("NextToken"))
    found: list[JsonDict] = []
    while True:
        batch = find_calls(
            connection,
            services=SERVICES,
            account=caller.account,
            region=caller.region,
            since=since,
            until=until,
            limit=_EVENT_BATCH,
            before=before,
        )
        for record in batch:
            before = record["seq"]
            event = _event_of(record)
            if matches(event):
                found.append(event)
                if len(found) == size:
                    return {"Events": found, "NextToken": str(before)}
        if len(batch) < _EVENT_BATCH:
            return {"Events": found}


def _event_filter(attributes: object) -> Callable[[JsonDict], bool]:
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


def _event_of(record: JsonDict) -> JsonDict:
    event_id = str(uuid.uuid5(uuid.NAMESPACE_OID, record["request_id"]))
    user = record["user"].rpartition("/")[2]
    resources = _resources_of_call(record)
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


def _resources_of_call(record: JsonDict) -> list[JsonDict]:
    """Return the resources that a call names in its parameters, or created."""
    parameters, result = record["parameters"] or {}, record["result"] or {}
    arns = [parameters.get(member) for member in SERVICES[record["service"]].arn_members]
    arns += [part.get("arn") for part in result.values() if isinstance(part, dict)]
    named = dict.fromkeys(arn for arn in arns if arn)
    return [
        {"ResourceType": kind.cloudtrail_type if (kind := kind_of(arn)) else "AWS::IVS::Resource", "ResourceName": arn}
        for arn in named
    ]


def _event_position(token: str | None) -> int | None:
    if not token:
        return None
    before = parse_position(str(token))
    if before is None:
        raise ApiError("InvalidNextTokenException", "The token is not valid.")
    return before


def _event_time(value: object, default: float) -> float:
    if value is None:
        return default
    if not is_number(value):
        raise ApiError("InvalidTimeRangeException", "The time range is not valid.")
    return value


_STS_NAMESPACE = "https://sts.amazonaws.com/doc/2011-06-15/"

_HANDLERS: Mapping[tuple[str, str], Handler] = {
    ("servicequotas", "ListServiceQuotas"): _quota_lister(applied=True),
    ("servicequotas", "ListAWSDefaultServiceQuotas"): _quota_lister(applied=False),
    ("servicequotas", "GetServiceQuota"): _quota_getter(applied=True),
    ("servicequotas", "GetAWSDefaultServiceQuota"): _quota_getter(applied=False),
    ("servicequotas", "ListServices"): _list_services,
    ("cloudtrail", "LookupEvents"): _lookup_events,
}
_CALLER_IDENTITY = ("sts", "GetCallerIdentity")
_ASSUME_ROLE = ("sts", "AssumeRole")
_STACK_RESOURCES = ("cloudformation", "DescribeStackResources")
OPERATIONS = (_CALLER_IDENTITY, _ASSUME_ROLE, _STACK_RESOURCES, *_HANDLERS)
_ROLE_ARN = re.compile(r"arn:aws:iam::(?P<account>[0-9]{12}):role/(?:[!-~]+/)?(?P<name>[\w+=,.@-]{1,64})")
_SESSION_NAME = re.compile(r"[\w+=,.@-]{2,64}")
_MIN_SESSION_SECONDS, _MAX_SESSION_SECONDS = 900, 43_200
"""Seconds that a session may last."""
_NAMESPACES: Mapping[str, str] = {"sts": _STS_NAMESPACE, "cloudformation": _CLOUDFORMATION_NAMESPACE}

_TARGETS: Mapping[str, str] = {
    "ServiceQuotasV20190624": "servicequotas",
    "com.amazonaws.cloudtrail.v20131101.CloudTrail_20131101": "cloudtrail",
    "CloudTrail_20131101": "cloudtrail",
}


@dataclass(frozen=True, slots=True)
class SupportingCall:
    """One call to a supporting service; signatures are scoped to `service`."""

    service: str
    operation: str

    def answer(
        self,
        connection: sqlite3.Connection,
        request: Request,
        caller: Caller,
        request_id: str,
        assume: Assumptions,
        now: float,
    ) -> Response:
        """Return the answer. Raises ApiError."""
        form = {name: values[0] for name, values in _form_of(request).items()} if self.service in _NAMESPACES else {}
        if (self.service, self.operation) == _CALLER_IDENTITY:
            return _caller_identity(caller, request_id)
        if (self.service, self.operation) == _ASSUME_ROLE:
            return _assume_role(form, request_id, now)
        if (self.service, self.operation) == _STACK_RESOURCES:
            with_skipped = assume["retained-resource"] == "skipped"
            members = _describe_stack_resources(connection, caller, form, with_skipped=with_skipped)
            result = f"<StackResources>{members}</StackResources>"
            return _xml(200, _query_answer(self.service, self.operation, result, request_id), request_id)
        handler = _HANDLERS.get((self.service, self.operation))
        if handler is None:
            raise ApiError(
                "UnknownOperationException",
                f"the sandbox does not support {self.service}:{self.operation[:100] or '(no action)'}",
            )
        return _json(200, handler(connection, caller, parse_body(request)), request_id)


def find_call(request: Request) -> SupportingCall | None:
    """Return the call if the request is for a supporting service."""
    if request.method != "POST" or request.path not in ("", "/"):
        return None
    target, _, operation = request.headers.get("x-amz-target", "").rpartition(".")
    if target in _TARGETS:
        return SupportingCall(_TARGETS[target], operation)
    form = _form_of(request)
    service = "cloudformation" if form.get("Version") == [_CLOUDFORMATION_VERSION] else "sts"
    return SupportingCall(service, form.get("Action", [""])[0])


def _form_of(request: Request) -> dict[str, list[str]]:
    return parse_qs(request.body.decode("utf-8", "replace") or request.query)


def error_of_service(service: str, error: ApiError, status: int, request_id: str) -> Response:
    """Return an error in the protocol of the service."""
    if service in _NAMESPACES:
        return _query_failure(service, error, status, request_id)
    return _json(status, {"__type": error.code, "message": error.message, "Message": error.message}, request_id)


def _caller_identity(caller: Caller, request_id: str) -> Response:
    result = (
        f"<Arn>{escape(caller.arn)}</Arn><UserId>{escape(caller.access_key or 'ANONYMOUS')}"
        f"</UserId><Account>{caller.account}</Account>"
    )
    return _xml(200, _query_answer("sts", "GetCallerIdentity", result, request_id), request_id)


def _assume_role(form: Mapping[str, str], request_id: str, now: float) -> Response:
    """Return credentials for a role (API reference of STS: AssumeRole)."""
    arn, session, duration = form.get("RoleArn"), form.get("RoleSessionName"), form.get("DurationSeconds", "3600")
    problems = [
        f"Value null at '{name}' failed to satisfy constraint: Member must not be null"
        for name, value in (("roleArn", arn), ("roleSessionName", session))
        if value is None
    ]
    if session is not None and not _SESSION_NAME.fullmatch(session):
        problems.append(
            f"Value '{session}' at 'roleSessionName' failed to satisfy constraint: "
            rf"Member must satisfy regular expression pattern: {_SESSION_NAME.pattern}"
        )
    if not duration.isdecimal() or not _MIN_SESSION_SECONDS <= int(duration[:9]) <= _MAX_SESSION_SECONDS:
        problems.append(
            f"Value '{duration}' at 'durationSeconds' failed to satisfy constraint: "
            f"Member must have value between {_MIN_SESSION_SECONDS} and {_MAX_SESSION_SECONDS}"
        )
    if problems:
        raise ApiError("ValidationError", violation_text(problems))
    found = _ROLE_ARN.fullmatch(arn or "")
    if found is None:
        raise ApiError("ValidationError", f"{arn} is invalid")
    role, ends = found["name"], now + int(duration)
    access_key, key = issue(found["account"], role, session or "", ends)
    identifier = "AROA" + hashlib.sha256((arn or "").encode()).hexdigest()[:17].upper()
    result = (
        f"<Credentials><AccessKeyId>{access_key}</AccessKeyId><SecretAccessKey>{key.secret}</SecretAccessKey>"
        f"<SessionToken>{key.session_token}</SessionToken><Expiration>{iso8601(ends)}</Expiration></Credentials>"
        f"<AssumedRoleUser><AssumedRoleId>{identifier}:{escape(session or '')}</AssumedRoleId>"
        f"<Arn>{escape(Caller(access_key, key.account, '', key.user).arn)}</Arn></AssumedRoleUser>"
    )
    return _xml(200, _query_answer(*_ASSUME_ROLE, result, request_id), request_id)


def _query_answer(service: str, operation: str, result: str, request_id: str) -> str:
    return (
        f'<{operation}Response xmlns="{_NAMESPACES[service]}"><{operation}Result>{result}</{operation}Result>'
        f"<ResponseMetadata><RequestId>{request_id}</RequestId></ResponseMetadata></{operation}Response>"
    )


def _query_failure(service: str, error: ApiError, status: int, request_id: str) -> Response:
    kind = "Sender" if status < 500 else "Receiver"
    body = (
        f'<ErrorResponse xmlns="{_NAMESPACES[service]}"><Error><Type>{kind}</Type>'
        f"<Code>{escape(error.code)}</Code><Message>{escape(error.message)}</Message></Error>"
        f"<RequestId>{request_id}</RequestId></ErrorResponse>"
    )
    return _xml(status, body, request_id)


def _xml(status: int, body: str, request_id: str) -> Response:
    return Response(status, (("Content-Type", "text/xml"), ("x-amzn-RequestId", request_id)), body.encode())


def _json(status: int, value: JsonDict, request_id: str) -> Response:
    return Response(status, (("Content-Type", _JSON_11), ("x-amzn-RequestId", request_id)), json_bytes(value))
