"""Service Quotas: the applied and the default resource quotas of the emulated services."""

from __future__ import annotations

import base64
import binascii
import hashlib
import sqlite3

from reconciler.sandbox.auth import Caller
from reconciler.sandbox.model import JsonDict
from reconciler.sandbox.registry import SERVICES
from reconciler.sandbox.service import Service
from reconciler.sandbox.settings import ResourceQuota, applied_quota
from reconciler.sandbox.wire import ApiError

_MAX_RESULTS = 100


def list_services(connection: sqlite3.Connection, caller: Caller, request: JsonDict) -> JsonDict:  # noqa: ARG001 - one signature for all
    """List the services that have quotas here."""
    services = [{"ServiceCode": service.name, "ServiceName": service.title} for service in SERVICES.values()]
    return _page("services", "Services", services, request)


def list_service_quotas(connection: sqlite3.Connection, caller: Caller, request: JsonDict) -> JsonDict:
    """List the quotas applied to the caller's account and region."""
    service = _service(request)
    code = request.get("QuotaCode")
    entries = [
        _entry(caller, service, quota, applied_quota(connection, quota, caller.account, caller.region))
        for quota in service.quotas
        if code in (None, code_of(quota))
    ]
    return _page("applied", "Quotas", entries, request)


def list_default_quotas(connection: sqlite3.Connection, caller: Caller, request: JsonDict) -> JsonDict:  # noqa: ARG001
    """List the default quotas."""
    service = _service(request)
    entries = [_entry(caller, service, quota, quota.default) for quota in service.quotas]
    return _page("default", "Quotas", entries, request)


def get_service_quota(connection: sqlite3.Connection, caller: Caller, request: JsonDict) -> JsonDict:
    """Return one applied quota by its code."""
    service = _service(request)
    quota = _quota(service, request)
    value = applied_quota(connection, quota, caller.account, caller.region)
    return {"Quota": _entry(caller, service, quota, value)}


def get_default_quota(connection: sqlite3.Connection, caller: Caller, request: JsonDict) -> JsonDict:  # noqa: ARG001
    """Return one default quota by its code."""
    service = _service(request)
    quota = _quota(service, request)
    return {"Quota": _entry(caller, service, quota, quota.default)}


def code_of(quota: ResourceQuota) -> str:
    """Return the published code (AWS General Reference), or an invented one if there is none."""
    return quota.code or "L-" + hashlib.sha256(quota.name.encode()).hexdigest()[:8].upper()


def _service(request: JsonDict) -> Service:
    code = request.get("ServiceCode")
    if not isinstance(code, str):
        raise ApiError("IllegalArgumentException", "ServiceCode is required.")
    if code not in SERVICES:
        raise _no_such_resource()
    return SERVICES[code]


def _quota(service: Service, request: JsonDict) -> ResourceQuota:
    for quota in service.quotas:
        if code_of(quota) == request.get("QuotaCode"):
            return quota
    raise _no_such_resource()


def _no_such_resource() -> ApiError:
    return ApiError(
        "NoSuchResourceException", "The request failed because the specified service or quota does not exist."
    )


def _page(listing: str, member: str, entries: list[JsonDict], request: JsonDict) -> JsonDict:
    """Return one page of a listing, with the token of the next one."""
    size = request.get("MaxResults", _MAX_RESULTS)
    if not isinstance(size, int) or isinstance(size, bool) or not 1 <= size <= _MAX_RESULTS:
        raise ApiError("IllegalArgumentException", f"MaxResults is between 1 and {_MAX_RESULTS}.")
    start = _start(request.get("NextToken"), listing)
    answer: JsonDict = {member: entries[start : start + size]}
    if start + size < len(entries):
        answer["NextToken"] = base64.b64encode(f"{listing}:{start + size}".encode()).decode()
    return answer


def _start(token: object, listing: str) -> int:
    if token is None:
        return 0
    try:
        name, _, start = base64.b64decode(str(token), validate=True).decode().partition(":")
        if name == listing and start.isdecimal():
            return int(start)
    except (binascii.Error, ValueError):
        pass
    raise ApiError("InvalidPaginationTokenException", "The pagination token is invalid.")


def _entry(caller: Caller, service: Service, quota: ResourceQuota, value: int) -> JsonDict:
    code = code_of(quota)
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
