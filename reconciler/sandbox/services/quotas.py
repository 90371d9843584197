"""Service Quotas for `ivs`: the applied and the default resource quotas."""

from __future__ import annotations

import hashlib
import sqlite3

from reconciler.sandbox.identity import Caller
from reconciler.sandbox.model import JsonDict
from reconciler.sandbox.settings import RESOURCE_QUOTAS, ResourceQuota, quota
from reconciler.sandbox.wire import ApiError

SERVICE_CODE = "ivs"
SERVICE_NAME = "Amazon Interactive Video Service"


def list_service_quotas(connection: sqlite3.Connection, caller: Caller, request: JsonDict) -> JsonDict:
    """List the applied quotas, in one page."""
    _check_service(request)
    return {"Quotas": [_entry(caller, name, row, quota(connection, name)) for name, row in RESOURCE_QUOTAS.items()]}


def list_default_quotas(connection: sqlite3.Connection, caller: Caller, request: JsonDict) -> JsonDict:  # noqa: ARG001 - one signature for all
    """List what AWS grants without being asked."""
    _check_service(request)
    return {"Quotas": [_entry(caller, name, row, row.default) for name, row in RESOURCE_QUOTAS.items()]}


def get_service_quota(connection: sqlite3.Connection, caller: Caller, request: JsonDict) -> JsonDict:
    """Get one applied quota by its code."""
    _check_service(request)
    for name, row in RESOURCE_QUOTAS.items():
        if code_of(name, row) == request.get("QuotaCode"):
            return {"Quota": _entry(caller, name, row, quota(connection, name))}
    raise _no_such()


def code_of(name: str, row: ResourceQuota) -> str:
    """Return the published code (AWS General Reference), or an invented one where none is."""
    return row.code or "L-" + hashlib.sha256(name.encode()).hexdigest()[:8].upper()


def _check_service(request: JsonDict) -> None:
    if request.get("ServiceCode") != SERVICE_CODE:
        raise _no_such()


def _no_such() -> ApiError:
    return ApiError("NoSuchResourceException", "The request failed because the specified service or quota does not exist.")


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
    }
