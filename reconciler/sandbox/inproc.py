"""The in-process transport: answers the calls of boto3 clients without sockets.

botocore uses the answer of a `before-send` handler instead of sending a request. Faults that break a connection raise
the exception that a client gets from a real one, without delay. Only this module imports botocore, for the first call.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import urlsplit

from reconciler.sandbox.registry import SERVICES
from reconciler.sandbox.wire import Disruption, Request, Response

# Names of services in botocore.
CLIENTS = (*SERVICES, "sts", "service-quotas", "cloudtrail")

Handle = Callable[[Request], Response]


class _Body:
    """The body of an answer as botocore reads it."""

    def __init__(self, body: bytes) -> None:
        self._body = body

    def read(self, *_: Any, **__: Any) -> bytes:
        body, self._body = self._body, b""
        return body

    def stream(self, *_: Any, **__: Any) -> Iterator[bytes]:
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

        answer = self._handle(_to_request(request))
        body = answer.body
        if answer.disruption is Disruption.TRUNCATE:
            # Over HTTP botocore parses half an answer without an error.
            body = body[: len(body) // 2]
        elif answer.disruption is not None:
            raise _connection_error(answer.disruption, request.url)
        return AWSResponse(request.url, answer.status, _headers(answer), _Body(body))


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


def _connection_error(disruption: Disruption, url: str) -> Exception:
    """Return the exception that botocore raises for a broken connection."""
    from botocore.exceptions import ConnectionClosedError, ReadTimeoutError

    kind: type[Exception] = ReadTimeoutError if disruption is Disruption.HANG else ConnectionClosedError
    return kind(endpoint_url=url)  # type: ignore[call-arg]  # botocore's errors are untyped


def _headers(answer: Response) -> Any:
    from botocore.compat import HTTPHeaders

    headers = HTTPHeaders()
    for name, value in answer.headers:
        headers[name] = value
    return headers
