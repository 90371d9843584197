"""STS: GetCallerIdentity, which tools call before anything else to learn their account.

Service Quotas for `ivs`: the applied and the default resource quotas.

The neighbouring services on the same port: found by target header or form body, on POST /.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import sqlite3
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from html import escape
from urllib.parse import parse_qs

from reconciler.sandbox.auth import Caller
from reconciler.sandbox.model import JsonDict
from reconciler.sandbox.routing import parse_body
from reconciler.sandbox.services import cloudtrail
from reconciler.sandbox.settings import RESOURCE_QUOTAS, ResourceQuota, quota
from reconciler.sandbox.wire import ApiError, Request, Response, json_bytes

NAMESPACE = "https://sts.amazonaws.com/doc/2011-06-15/"


def action(request: Request) -> str:
    """Return the operation named in a form body (or a query string)."""
    form = parse_qs(request.body.decode("utf-8", "replace") or request.query)
    return form.get("Action", [""])[0]


def answer(caller: Caller, request_id: str) -> Response:
    """Return the caller as the sandbox sees them."""
    body = (
        f'<GetCallerIdentityResponse xmlns="{NAMESPACE}"><GetCallerIdentityResult>'
        f"<Arn>{escape(caller.arn)}</Arn><UserId>{escape(caller.access_key or 'ANONYMOUS')}"
        f"</UserId><Account>{caller.account}</Account></GetCallerIdentityResult>"
        f"<ResponseMetadata><RequestId>{request_id}</RequestId></ResponseMetadata>"
        "</GetCallerIdentityResponse>"
    )
    return Response(200, _headers(request_id), body.encode())


def sts_failure(error: ApiError, status: int, request_id: str) -> Response:
    """Return an error in the form of the query protocol."""
    kind = "Sender" if status < 500 else "Receiver"
    body = (
        f'<ErrorResponse xmlns="{NAMESPACE}"><Error><Type>{kind}</Type>'
        f"<Code>{escape(error.code)}</Code><Message>{escape(error.message)}</Message></Error>"
        f"<RequestId>{request_id}</RequestId></ErrorResponse>"
    )
    return Response(status, _headers(request_id), body.encode())


def _headers(request_id: str) -> tuple[tuple[str, str], ...]:
    return (("Content-Type", "text/xml"), ("x-amzn-RequestId", request_id))


SERVICE_CODE = "ivs"
SERVICE_NAME = "Amazon Interactive Video Service"
MAX_RESULTS = 100


def list_services(connection: sqlite3.Connection, caller: Caller, request: JsonDict) -> JsonDict:  # noqa: ARG001 - one signature for all
    """List the services that have quotas here: the one."""
    return _page("services", "Services", [{"ServiceCode": SERVICE_CODE, "ServiceName": SERVICE_NAME}], request)


def list_service_quotas(connection: sqlite3.Connection, caller: Caller, request: JsonDict) -> JsonDict:
    """List the quotas applied to the caller's account in the region."""
    _check_service(request)
    entries = [
        _entry(caller, name, row, quota(connection, name, caller.account, caller.region))
        for name, row in RESOURCE_QUOTAS.items()
    ]
    wanted = request.get("QuotaCode")
    return _page("applied", "Quotas", [entry for entry in entries if wanted in (None, entry["QuotaCode"])], request)


def list_default_quotas(connection: sqlite3.Connection, caller: Caller, request: JsonDict) -> JsonDict:  # noqa: ARG001
    """List what AWS grants without being asked."""
    _check_service(request)
    return _page(
        "default", "Quotas", [_entry(caller, name, row, row.default) for name, row in RESOURCE_QUOTAS.items()], request
    )


def get_service_quota(connection: sqlite3.Connection, caller: Caller, request: JsonDict) -> JsonDict:
    """Get one applied quota by its code."""
    name, row = _find(request)
    return {"Quota": _entry(caller, name, row, quota(connection, name, caller.account, caller.region))}


def get_default_quota(connection: sqlite3.Connection, caller: Caller, request: JsonDict) -> JsonDict:  # noqa: ARG001
    """Get what AWS grants of one quota without being asked."""
    name, row = _find(request)
    return {"Quota": _entry(caller, name, row, row.default)}


def code_of(name: str, row: ResourceQuota) -> str:
    """Return the published code (AWS General Reference), or an invented one where none is."""
    return row.code or "L-" + hashlib.sha256(name.encode()).hexdigest()[:8].upper()


def _find(request: JsonDict) -> tuple[str, ResourceQuota]:
    _check_service(request)
    for name, row in RESOURCE_QUOTAS.items():
        if code_of(name, row) == request.get("QuotaCode"):
            return name, row
    raise _no_such()


def _check_service(request: JsonDict) -> None:
    if not isinstance(request.get("ServiceCode"), str):
        raise ApiError("IllegalArgumentException", "ServiceCode is required.")
    if request["ServiceCode"] != SERVICE_CODE:
        raise _no_such()


def _no_such() -> ApiError:
    return ApiError(
        "NoSuchResourceException", "The request failed because the specified service or quota does not exist."
    )


def _page(listing: str, member: str, entries: list[JsonDict], request: JsonDict) -> JsonDict:
    """Return one page of a listing, with the token of the next one."""
    size = request.get("MaxResults", MAX_RESULTS)
    if not isinstance(size, int) or isinstance(size, bool) or not 1 <= size <= MAX_RESULTS:
        raise ApiError("IllegalArgumentException", f"MaxResults is between 1 and {MAX_RESULTS}.")
    start = _position(request.get("NextToken"), listing)
    answer: JsonDict = {member: entries[start : start + size]}
    if start + size < len(entries):
        answer["NextToken"] = base64.b64encode(f"{listing}:{start + size}".encode()).decode()
    return answer


def _position(token: object, listing: str) -> int:
    if token is None:
        return 0
    try:
        name, _, position = base64.b64decode(str(token), validate=True).decode().partition(":")
        if name == listing and position.isdecimal():
            return int(position)
    except (binascii.Error, ValueError):
        pass
    raise ApiError("InvalidPaginationTokenException", "The pagination token is invalid.")


def _entry(caller: Caller, name: str, row: ResourceQuota, value: int) -> JsonDict:
    code = code_of(name, row)
    return {
        "ServiceCode": SERVICE_CODE,
        "ServiceName": SERVICE_NAME,
        "QuotaArn": f"arn:aws:servicequotas:{caller.region}:{caller.account}:{SERVICE_CODE}/{code}",
        "QuotaCode": code,
        "QuotaName": row.title,
        "Value": float(value),
        "Unit": "None",
        "Adjustable": row.adjustable,
        "GlobalQuota": False,
        "QuotaAppliedAtLevel": "ACCOUNT",
    }


JSON_11 = "application/x-amz-json-1.1"

_Answerer = Callable[[sqlite3.Connection, Caller, JsonDict], JsonDict]

_JSON_OPERATIONS: Mapping[tuple[str, str], _Answerer] = {
    ("servicequotas", "ListServiceQuotas"): list_service_quotas,
    ("servicequotas", "ListAWSDefaultServiceQuotas"): list_default_quotas,
    ("servicequotas", "GetServiceQuota"): get_service_quota,
    ("servicequotas", "GetAWSDefaultServiceQuota"): get_default_quota,
    ("servicequotas", "ListServices"): list_services,
    ("cloudtrail", "LookupEvents"): cloudtrail.lookup_events,
}
# What fault rules may name besides the operations of ivs.
OPERATIONS = (("sts", "GetCallerIdentity"), *_JSON_OPERATIONS)

_TARGETS: Mapping[str, str] = {
    "ServiceQuotasV20190624": "servicequotas",
    "com.amazonaws.cloudtrail.v20131101.CloudTrail_20131101": "cloudtrail",
    "CloudTrail_20131101": "cloudtrail",
}


@dataclass(frozen=True, slots=True)
class Neighbour:
    """One call to a neighbouring service; `service` is also the name signatures are scoped to."""

    service: str
    operation: str

    def answer(self, connection: sqlite3.Connection, request: Request, caller: Caller, request_id: str) -> Response:
        """Return the answer, or raise an `ApiError`."""
        if self.service == "sts" and self.operation == "GetCallerIdentity":
            return answer(caller, request_id)
        operation = _JSON_OPERATIONS.get((self.service, self.operation))
        if operation is None:
            raise ApiError(
                "UnknownOperationException",
                f"the sandbox does not answer {self.service}:{self.operation[:100] or '(no action)'}",
            )
        return _json(200, operation(connection, caller, parse_body(request)), request_id)


def find(request: Request) -> Neighbour | None:
    """Return the neighbouring service a request is for, if it is for one."""
    if request.method != "POST" or request.path not in ("", "/"):
        return None
    prefix, _, operation = request.headers.get("x-amz-target", "").rpartition(".")
    if prefix in _TARGETS:
        return Neighbour(_TARGETS[prefix], operation)
    return Neighbour("sts", action(request))


def failure(service: str, error: ApiError, status: int, request_id: str) -> Response:
    """Return an error in the neighbour's own form."""
    if service == "sts":
        return sts_failure(error, status, request_id)
    return _json(status, {"__type": error.code, "message": error.message, "Message": error.message}, request_id)


def _json(status: int, value: JsonDict, request_id: str) -> Response:
    return Response(status, (("Content-Type", JSON_11), ("x-amzn-RequestId", request_id)), json_bytes(value))
