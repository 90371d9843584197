"""STS: GetCallerIdentity, which tools call before anything else to learn their account."""

from __future__ import annotations

from html import escape
from urllib.parse import parse_qs

from reconciler.sandbox.identity import Caller
from reconciler.sandbox.wire import ApiError, Request, Response

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


def failure(error: ApiError, status: int, request_id: str) -> Response:
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
