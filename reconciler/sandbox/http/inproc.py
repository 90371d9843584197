"""The in-process transport: answers the calls of boto3 clients without sockets.

botocore uses the answer of a `before-send` handler instead of sending a request. Faults that break a connection raise
the exception that a client gets from a real one, without delay. Only this module imports botocore, for the first call.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import urlsplit

from reconciler.sandbox.registry import SERVICES
from reconciler.sandbox.wire import Disruption, Request, Response

# Names of services in botocore.
CLIENTS = (*SERVICES, "sts", "service-quotas", "cloudtrail")

Handle = Callable[[Request], Response]


class _Body(io.BytesIO):
    """The body of an answer as botocore reads it."""

    def stream(self, **_: Any) -> Iterator[bytes]:
        yield self.read()


def attach(target: Any, handle: Handle) -> Callable[[], None]:
    """Answer the calls of a boto3 client or session, and return a function that detaches."""
    events = target.meta.events if hasattr(target, "meta") else target.events
    transport = Transport(handle)
    for service in CLIENTS:
        events.register(f"before-send.{service}", transport)

    def detach() -> None:
        for service in CLIENTS:
            events.unregister(f"before-send.{service}", transport)

    return detach


class Transport:
    """A `before-send` handler."""

    def __init__(self, handle: Handle) -> None:
        """Take the function that maps requests to answers."""
        self._handle = handle

    def __call__(self, request: Any, **_: Any) -> Any:
        """Return the answer to a request, or raise the exception of a broken connection."""
        from botocore.awsrequest import AWSResponse
        from botocore.compat import HTTPHeaders
        from botocore.exceptions import ConnectionClosedError, ReadTimeoutError

        answer = self._handle(_to_request(request))
        body = answer.body
        match answer.disruption:
            case Disruption.TRUNCATE:
                # Over HTTP botocore parses half an answer without an error.
                body = body[: len(body) // 2]
            case Disruption.HANG:
                raise ReadTimeoutError(endpoint_url=request.url)
            case Disruption.RESET:
                raise ConnectionClosedError(endpoint_url=request.url)
        return AWSResponse(request.url, answer.status, HTTPHeaders.from_pairs(answer.headers), _Body(body))


def _to_request(prepared: Any) -> Request:
    """Return a request of botocore as a request of the sandbox."""
    url = urlsplit(prepared.url)
    headers = {
        name.lower(): value.decode("latin-1") if isinstance(value, bytes) else str(value)
        for name, value in prepared.headers.items()
    }
    headers.setdefault("host", url.netloc)
    return Request(prepared.method, url.path or "/", url.query, headers, _to_bytes(prepared.body))


def _to_bytes(body: Any) -> bytes:
    """Return a body of botocore: a string, bytes or a file."""
    if body is None:
        return b""
    if isinstance(body, str):
        return body.encode()
    if isinstance(body, bytes | bytearray):
        return bytes(body)
    return bytes(body.read())
