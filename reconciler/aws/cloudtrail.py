"""Reads who changed what from CloudTrail (``LookupEvents``).

A failure is part of the returned ``Trail``, because only reports use it.
``LookupEvents`` takes one attribute, allows two calls a second per account and region, and returns 50 events a page (CloudTrail API reference).
So events are looked up by operation name, without the reads that make up most of a trail, in a limited number of pages.
Only names of parameters are kept, not their values.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from typing import Any
from urllib.parse import unquote

from reconciler.aws.client import ReadCalls
from reconciler.aws.denials import DENIED_CODES, describe
from reconciler.aws.limiter import Pacers
from reconciler.aws.session import SESSION_NAME
from reconciler.errors import AwsError
from reconciler.model.address import ID, STACK
from reconciler.model.kinds import KINDS, SERVICES
from reconciler.model.resource import CloudTrailEvent, Trail
from reconciler.model.values import format_time

SERVICE = "cloudtrail"
LOOKUP = "LookupEvents"
PACERS = Pacers(rates={(SERVICE, LOOKUP): 2.0})
"""The pacers of this process for CloudTrail."""

PAGES = 20
"""Maximum pages read per operation."""

_PAGE_SIZE = 50
_SOURCES = frozenset(f"{service.prefix}.amazonaws.com" for service in SERVICES.values())
_NAMED = (*dict.fromkeys(kind.identifier for kind in KINDS.values()), "channelArn", "resourceArn")
_CLIENTS = (
    ("terraform", "Terraform"),
    ("opentofu", "OpenTofu"),
    ("pulumi", "Pulumi"),
    ("cloudformation.amazonaws.com", "CloudFormation"),
    ("console.amazonaws.com", "the console"),
    ("aws-cli/", "the AWS CLI"),
    ("boto3/", "an AWS SDK"),
    ("botocore/", "an AWS SDK"),
    ("aws-sdk-", "an AWS SDK"),
    ("mozilla/", "a browser"),
)
"""Part of a user agent, in lower case, and the tool that sends it. A caller can send any user agent."""


def read_trail(calls: ReadCalls, operations: Iterable[str], since: datetime, until: datetime) -> Trail:
    """Return the events of each operation, newest first."""
    events: list[CloudTrailEvent] = []
    cut: list[str] = []
    try:
        for operation in operations:
            found, more = _look_up(calls, operation, since, until)
            events += found
            cut += [operation] if more else []
    except AwsError as error:
        return Trail(_sorted(events), tuple(cut), _why(error))
    return Trail(_sorted(events), tuple(cut))


def _look_up(calls: ReadCalls, operation: str, since: datetime, until: datetime) -> tuple[list[CloudTrailEvent], bool]:
    found: list[CloudTrailEvent] = []
    token = ""
    for _ in range(PAGES):
        answer = calls.call(
            LOOKUP,
            {
                "LookupAttributes": [{"AttributeKey": "EventName", "AttributeValue": operation}],
                "StartTime": since,
                "EndTime": until,
                "MaxResults": _PAGE_SIZE,
                **({"NextToken": token} if token else {}),
            },
        ).data
        rows = answer.get("Events")
        found += filter(None, map(_event, rows if isinstance(rows, list) else ()))
        token = str(answer.get("NextToken") or "")
        if not token:
            return found, False
    return found, True


def _sorted(events: list[CloudTrailEvent]) -> tuple[CloudTrailEvent, ...]:
    return tuple(sorted({event.id: event for event in events}.values(), key=lambda event: event.at, reverse=True))


def _event(row: Mapping[str, Any]) -> CloudTrailEvent | None:
    """Return an event, or ``None`` for another service's, a failed or an invalid one."""
    try:
        detail = json.loads(row.get("CloudTrailEvent") or "")
    except ValueError:
        return None
    if not isinstance(detail, dict) or detail.get("eventSource") not in _SOURCES or detail.get("errorCode"):
        return None
    given, made = _mapping(detail.get("requestParameters")), _mapping(detail.get("responseElements"))
    who = _mapping(detail.get("userIdentity"))
    tags = _mapping(given.get("tags"))
    named = tags.get(STACK), tags.get(ID)
    return CloudTrailEvent(
        id=str(detail.get("eventID") or row.get("EventId") or ""),
        operation=str(detail.get("eventName") or ""),
        at=_instant(detail.get("eventTime")),
        who=str(who.get("arn") or who.get("invokedBy") or row.get("Username") or "an unknown principal"),
        source=_source(detail, who),
        ours=_is_ours(detail, who),
        arns=frozenset(unquote(str(given[name])) for name in _NAMED if isinstance(given.get(name), str)),
        made=frozenset(
            str(part["arn"])
            for part in (made, *made.values())
            if isinstance(part, dict) and isinstance(part.get("arn"), str)
        ),
        fields=frozenset(_fields(given)) if given else None,
        owner=(named[0], named[1]) if isinstance(named[0], str) and isinstance(named[1], str) else None,
    )


def _fields(given: Mapping[str, Any]) -> Iterator[str]:
    keys = given.get("tagKeys")
    for key in (*_mapping(given.get("tags")), *(keys if isinstance(keys, list) else ())):
        yield f"tags/{key}"
    yield from (name for name in given if name not in (*_NAMED, "tags", "tagKeys"))


def _instant(text: object) -> str:
    try:
        return format_time(datetime.fromisoformat(str(text)))
    except ValueError:
        return ""


def _source(detail: Mapping[str, Any], who: Mapping[str, Any]) -> str:
    if _is_ours(detail, who):
        return SESSION_NAME
    if str(detail.get("sessionCredentialFromConsole", "")).lower() == "true":
        return "the console"
    agent = f"{detail.get('userAgent') or ''} {who.get('invokedBy') or ''}".lower()
    return next(
        (words for part, words in _CLIENTS if part in agent),
        "another AWS service" if agent.strip().endswith(".amazonaws.com") else "an unknown client",
    )


def _is_ours(detail: Mapping[str, Any], who: Mapping[str, Any]) -> bool:
    """Return whether ivs-reconciler made the call, by its user agent or role session name."""
    session = who.get("type") == "AssumedRole" and str(who.get("arn") or "").rpartition("/")[2] == SESSION_NAME
    return session or SESSION_NAME in str(detail.get("userAgent") or "").strip("[]").split()


def _why(error: AwsError) -> str:
    if error.code in DENIED_CODES:
        return f"missing permission cloudtrail:{LOOKUP}"
    return f"cannot read CloudTrail ({describe(error)})"


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}
