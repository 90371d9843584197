"""Service Quotas for `ivs`: the applied and the default resource quotas."""

from __future__ import annotations

import base64
import binascii
import hashlib
import sqlite3

from reconciler.sandbox.identity import Caller
from reconciler.sandbox.model import JsonDict
from reconciler.sandbox.settings import RESOURCE_QUOTAS, ResourceQuota, quota
from reconciler.sandbox.wire import ApiError

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
