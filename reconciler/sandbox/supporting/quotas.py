"""Service Quotas: the applied and the default resource quotas of the emulated services."""

from __future__ import annotations

import hashlib
import sqlite3
from collections.abc import Callable

from reconciler.sandbox.auth import Caller
from reconciler.sandbox.model import JsonDict
from reconciler.sandbox.registry import SERVICES
from reconciler.sandbox.service import Service
from reconciler.sandbox.settings import ResourceQuota, applied_quota
from reconciler.sandbox.state.world import decode_token, encode_token
from reconciler.sandbox.wire import ApiError

Handler = Callable[[sqlite3.Connection, Caller, JsonDict], JsonDict]

_MAX_RESULTS = 100


def list_services(connection: sqlite3.Connection, caller: Caller, request: JsonDict) -> JsonDict:  # noqa: ARG001 - one signature for all
    """List the services that have quotas here."""
    services = [{"ServiceCode": service.name, "ServiceName": service.title} for service in SERVICES.values()]
    return _page("services", "Services", services, request)


def lister(*, applied: bool) -> Handler:
    """Return the handler that lists the quotas applied to the caller's account and region, or the defaults."""

    def list_quotas(connection: sqlite3.Connection, caller: Caller, request: JsonDict) -> JsonDict:
        service = _service(request)
        code = request.get("QuotaCode") if applied else None
        entries = [
            _entry(connection, caller, service, quota, applied=applied)
            for quota in service.quotas
            if code in (None, code_of(quota))
        ]
        return _page("applied" if applied else "default", "Quotas", entries, request)

    return list_quotas


def getter(*, applied: bool) -> Handler:
    """Return the handler that answers one applied or default quota by its code."""

    def get_quota(connection: sqlite3.Connection, caller: Caller, request: JsonDict) -> JsonDict:
        service = _service(request)
        for quota in service.quotas:
            if code_of(quota) == request.get("QuotaCode"):
                return {"Quota": _entry(connection, caller, service, quota, applied=applied)}
        raise _no_such_resource()

    return get_quota


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


def _no_such_resource() -> ApiError:
    return ApiError(
        "NoSuchResourceException", "The request failed because the specified service or quota does not exist."
    )


def _page(listing: str, member: str, entries: list[JsonDict], request: JsonDict) -> JsonDict:
    """Return one page of a listing, with the token of the next one."""
    size = request.get("MaxResults", _MAX_RESULTS)
    if not isinstance(size, int) or isinstance(size, bool) or not 1 <= size <= _MAX_RESULTS:
        raise ApiError("IllegalArgumentException", f"MaxResults is between 1 and {_MAX_RESULTS}.")
    token = request.get("NextToken")
    try:
        start = 0 if token is None else decode_token(str(token), listing)[0]
    except ApiError:
        raise ApiError("InvalidPaginationTokenException", "The pagination token is invalid.") from None
    answer: JsonDict = {member: entries[start : start + size]}
    if start + size < len(entries):
        answer["NextToken"] = encode_token(start + size, listing)
    return answer


def _entry(
    connection: sqlite3.Connection, caller: Caller, service: Service, quota: ResourceQuota, *, applied: bool
) -> JsonDict:
    value = applied_quota(connection, quota, caller.account, caller.region) if applied else quota.default
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
