"""The neighbouring services on the same port: found by target header or form body, on POST /."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from reconciler.sandbox.identity import Caller
from reconciler.sandbox.model import JsonDict
from reconciler.sandbox.routing import parse_body
from reconciler.sandbox.services import cloudtrail, quotas, sts
from reconciler.sandbox.wire import ApiError, Request, Response, json_bytes

JSON_11 = "application/x-amz-json-1.1"

_Answerer = Callable[[sqlite3.Connection, Caller, JsonDict], JsonDict]

_JSON_OPERATIONS: Mapping[tuple[str, str], _Answerer] = {
    ("servicequotas", "ListServiceQuotas"): quotas.list_service_quotas,
    ("servicequotas", "ListAWSDefaultServiceQuotas"): quotas.list_default_quotas,
    ("servicequotas", "GetServiceQuota"): quotas.get_service_quota,
    ("servicequotas", "GetAWSDefaultServiceQuota"): quotas.get_default_quota,
    ("servicequotas", "ListServices"): quotas.list_services,
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
            return sts.answer(caller, request_id)
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
    return Neighbour("sts", sts.action(request))


def failure(service: str, error: ApiError, status: int, request_id: str) -> Response:
    """Return an error in the neighbour's own form."""
    if service == "sts":
        return sts.failure(error, status, request_id)
    return _json(status, {"__type": error.code, "message": error.message, "Message": error.message}, request_id)


def _json(status: int, value: JsonDict, request_id: str) -> Response:
    return Response(status, (("Content-Type", JSON_11), ("x-amzn-RequestId", request_id)), json_bytes(value))
