"""Calls to supporting services: found by target header or form body on POST /, and answered.

STS (GetCallerIdentity) and CloudFormation (DescribeStackResources) speak the XML of the query protocol, the others JSON 1.1.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping
from dataclasses import dataclass
from html import escape
from urllib.parse import parse_qs

from reconciler.sandbox.auth import Caller
from reconciler.sandbox.model import JsonDict
from reconciler.sandbox.routing import parse_body
from reconciler.sandbox.settings import Assumptions
from reconciler.sandbox.supporting import cloudformation, cloudtrail, quotas
from reconciler.sandbox.wire import ApiError, Request, Response, json_bytes

_JSON_11 = "application/x-amz-json-1.1"
_STS_NAMESPACE = "https://sts.amazonaws.com/doc/2011-06-15/"

_HANDLERS: Mapping[tuple[str, str], quotas.Handler] = {
    ("servicequotas", "ListServiceQuotas"): quotas.lister(applied=True),
    ("servicequotas", "ListAWSDefaultServiceQuotas"): quotas.lister(applied=False),
    ("servicequotas", "GetServiceQuota"): quotas.getter(applied=True),
    ("servicequotas", "GetAWSDefaultServiceQuota"): quotas.getter(applied=False),
    ("servicequotas", "ListServices"): quotas.list_services,
    ("cloudtrail", "LookupEvents"): cloudtrail.lookup_events,
}
_CALLER_IDENTITY = ("sts", "GetCallerIdentity")
_STACK_RESOURCES = ("cloudformation", "DescribeStackResources")
OPERATIONS = (_CALLER_IDENTITY, _STACK_RESOURCES, *_HANDLERS)
_NAMESPACES: Mapping[str, str] = {"sts": _STS_NAMESPACE, "cloudformation": cloudformation.NAMESPACE}

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
        self, connection: sqlite3.Connection, request: Request, caller: Caller, request_id: str, assume: Assumptions
    ) -> Response:
        """Return the answer. Raises ApiError."""
        if (self.service, self.operation) == _CALLER_IDENTITY:
            return _caller_identity(caller, request_id)
        if (self.service, self.operation) == _STACK_RESOURCES:
            form = {name: values[0] for name, values in _form_of(request).items()}
            with_skipped = assume["retained-resource"] == "skipped"
            members = cloudformation.describe_stack_resources(connection, caller, form, with_skipped=with_skipped)
            result = f"<StackResources>{members}</StackResources>"
            return _xml(200, _query_answer(self.service, self.operation, result, request_id), request_id)
        handler = _HANDLERS.get((self.service, self.operation))
        if handler is None:
            raise ApiError(
                "UnknownOperationException",
                f"the sandbox does not support {self.service}:{self.operation[:100] or '(no action)'}",
            )
        return _json(200, handler(connection, caller, parse_body(request)), request_id)


def find(request: Request) -> SupportingCall | None:
    """Return the call if the request is for a supporting service."""
    if request.method != "POST" or request.path not in ("", "/"):
        return None
    target, _, operation = request.headers.get("x-amz-target", "").rpartition(".")
    if target in _TARGETS:
        return SupportingCall(_TARGETS[target], operation)
    form = _form_of(request)
    service = "cloudformation" if form.get("Version") == [cloudformation.VERSION] else "sts"
    return SupportingCall(service, form.get("Action", [""])[0])


def _form_of(request: Request) -> dict[str, list[str]]:
    return parse_qs(request.body.decode("utf-8", "replace") or request.query)


def failure(service: str, error: ApiError, status: int, request_id: str) -> Response:
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
