"""What a fault that is an answer says, in the words of the service that was called.

IAM's text names who asked, for which action, on which resource (user guide: security and IAM). The
neighbouring services have codes of their own for the same things, and those that speak JSON 1.1
answer them with 400.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any
from urllib.parse import unquote

from reconciler.sandbox.faults import Fault, Subject
from reconciler.sandbox.identity import Caller
from reconciler.sandbox.operations.kinds import KINDS
from reconciler.sandbox.routing import TAGS_PATH
from reconciler.sandbox.sigv4 import late_text
from reconciler.sandbox.wire import ApiError, Request

CLOCK_AHEAD = 900.0

# Service, then effect: code and status, where they are not those of ivs.
_CODES: Mapping[tuple[str, str], tuple[str, int]] = {
    ("ivs", "throttle"): ("ThrottlingException", 429),
    ("ivs", "deny"): ("AccessDeniedException", 403),
    ("ivs", "expire"): ("ExpiredTokenException", 403),
    ("ivs", "skew"): ("InvalidSignatureException", 403),
    ("sts", "throttle"): ("Throttling", 400),
    ("sts", "expire"): ("ExpiredToken", 403),
    ("sts", "skew"): ("SignatureDoesNotMatch", 403),
    ("servicequotas", "throttle"): ("TooManyRequestsException", 400),
    ("servicequotas", "deny"): ("AccessDeniedException", 400),
    ("servicequotas", "expire"): ("ExpiredTokenException", 400),
    ("servicequotas", "skew"): ("InvalidSignatureException", 400),
    ("cloudtrail", "throttle"): ("ThrottlingException", 400),
    ("cloudtrail", "deny"): ("AccessDeniedException", 400),
    ("cloudtrail", "expire"): ("ExpiredTokenException", 400),
    ("cloudtrail", "skew"): ("InvalidSignatureException", 400),
}
# What the front's refusals are called where a signature is for STS, which speaks an older protocol.
_STS_CODES: Mapping[str, str] = {
    "ExpiredTokenException": "ExpiredToken",
    "IncompleteSignatureException": "IncompleteSignature",
    "InvalidSignatureException": "SignatureDoesNotMatch",
    "MissingAuthenticationTokenException": "MissingAuthenticationToken",
    "UnrecognizedClientException": "InvalidClientTokenId",
}
_ANYTHING = "*"
# These take no resource (Service Authorization Reference).
_WITHOUT_RESOURCE = frozenset({"ListAdConfigurations", "ListPlaybackRestrictionPolicies", "UpdateAdConfiguration"})
# Tags in these calls need the permission to tag as well (Service Authorization Reference).
_TAGGING_PREFIXES = ("Create", "Import")
_SUBJECTS = ("resourceArn", "arn", "channelArn")


def subject_of(service: str, operation: str, caller: Caller, request: Request) -> Subject:
    """Return a call as fault rules look at it."""
    text = f"{unquote(request.path)} {request.body.decode('utf-8', 'replace')}"
    document = _document(request) if service == "ivs" else {}
    tagging = service == "ivs" and operation.startswith(_TAGGING_PREFIXES) and bool(document.get("tags"))
    return Subject(
        service=service,
        operation=operation,
        account=caller.account,
        region=caller.region,
        access_key=caller.access_key,
        text=text,
        resource=_resource(service, operation, caller, request, document),
        also=("TagResource",) if tagging else (),
    )


def unauthenticated(service: str, error: ApiError) -> ApiError:
    """Return the refusal of a signature as the service that was called puts it."""
    if service == "sts":
        return ApiError(_STS_CODES[error.code], error.message, status=403)
    return error if service == "ivs" else ApiError(error.code, error.message, status=400)


def asked_error(fault: Fault, subject: Subject, caller: Caller, request: Request, now: float) -> ApiError:
    """Return the error a rule asks for."""
    if fault.effect == "error":
        return ApiError(fault.code, fault.message, status=fault.status)
    code, status = _CODES[subject.service, fault.effect]
    return ApiError(code, _text(fault, subject, caller, request, now), status=status)


def _text(fault: Fault, subject: Subject, caller: Caller, request: Request, now: float) -> str:
    match fault.effect:
        case "deny":
            action = subject.operation if fault.names(subject.operation, subject) else subject.also[0]
            return f"User: {caller.arn} is not authorized to perform: {subject.service}:{action} on resource: {subject.resource}"
        case "expire":
            return "The security token included in the request is expired"
        case "skew":
            stamp = request.headers.get("x-amz-date") or datetime.fromtimestamp(now, UTC).strftime("%Y%m%dT%H%M%SZ")
            return late_text(stamp, now + CLOCK_AHEAD)
        case _ if subject.service == "ivs":
            return f"Operation: ivs:{subject.operation} exceeded call rate: 5"
        case _:
            return "Rate exceeded"


def _document(request: Request) -> dict[str, Any]:
    try:
        found = json.loads(request.body or b"{}")
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def _resource(service: str, operation: str, caller: Caller, request: Request, document: dict[str, Any]) -> str:
    """Return the ARN a call is about; a pattern where it makes or lists things of a kind."""
    if service != "ivs" or operation in _WITHOUT_RESOURCE:
        return _ANYTHING
    if request.path.startswith(TAGS_PATH):
        return unquote(request.path.removeprefix(TAGS_PATH))
    for member in _SUBJECTS:
        if isinstance(document.get(member), str):
            return str(document[member])
    arns = document.get("arns")
    if isinstance(arns, list) and arns:
        return str(arns[0])
    kind = next(
        (kind.type for kind in KINDS.values() if operation.endswith((kind.member[1:], kind.plural[1:]))), "channel"
    )
    return f"arn:aws:ivs:{caller.region}:{caller.account}:{kind}/{_ANYTHING}"
