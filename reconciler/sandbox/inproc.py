"""The in-process transport: boto3 clients answered without sockets, by the same engine.

botocore asks `before-send` handlers whether one of them has an answer already. Faults that would
break a connection become the exceptions that a client sees on a real one, and nothing waits for
them. This is the one module that imports botocore, and only once something is attached.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import urlsplit

from reconciler.sandbox.wire import Disruption, Request, Response

SERVICES = ("ivs", "sts", "service-quotas", "cloudtrail")

Handle = Callable[[Request], Response]


class _Body:
    """What botocore reads an answer's body from."""

    def __init__(self, body: bytes) -> None:
        self._body = body

    def read(self, *_: Any, **__: Any) -> bytes:
        body, self._body = self._body, b""
        return body

    def stream(self, *_: Any, **__: Any) -> Iterator[bytes]:
        yield self.read()


def attach(target: Any, handle: Handle) -> Callable[[], None]:
    """Answer the calls of a boto3 client or session from now on; returns how to undo that."""
    events = target.meta.events if hasattr(target, "meta") else target.events
    transport = Transport(handle)
    for service in SERVICES:
        events.register(f"before-send.{service}", transport)

    def detach() -> None:
        for service in SERVICES:
            events.unregister(f"before-send.{service}", transport)

    return detach


class Transport:
    """One `before-send` handler."""

    def __init__(self, handle: Handle) -> None:
        """Take the function that answers requests."""
        self._handle = handle

    def __call__(self, request: Any, **_: Any) -> Any:
        """Answer a prepared request of botocore's, or raise what a broken connection raises."""
        from botocore.awsrequest import AWSResponse

        answer = self._handle(to_request(request))
        body = answer.body
        if answer.disruption is Disruption.TRUNCATE:
            # botocore takes half an answer over HTTP for a whole one without the members it lacks.
            body = body[: len(body) // 2]
        elif answer.disruption is not None:
            raise broken(answer.disruption, request.url)
        return AWSResponse(request.url, answer.status, _headers(answer), _Body(body))


def to_request(prepared: Any) -> Request:
    """Translate a prepared request of botocore's."""
    url = urlsplit(prepared.url)
    headers = {
        name.lower(): value.decode("latin-1") if isinstance(value, bytes) else str(value)
        for name, value in prepared.headers.items()
    }
    headers.setdefault("host", url.netloc)
    return Request(prepared.method, url.path or "/", url.query, headers, to_bytes(prepared.body))


def to_bytes(body: Any) -> bytes:
    """Read a body, which botocore may hold as text, bytes or a file."""
    if body is None:
        return b""
    if isinstance(body, str):
        return body.encode()
    if isinstance(body, bytes | bytearray):
        return bytes(body)
    return bytes(body.read())


def broken(disruption: Disruption, url: str) -> Exception:
    """Return the exception that a client sees when a real connection breaks so."""
    from botocore.exceptions import ConnectionClosedError, ReadTimeoutError

    kind: type[Exception] = ReadTimeoutError if disruption is Disruption.HANG else ConnectionClosedError
    return kind(endpoint_url=url)  # type: ignore[call-arg]  # botocore's errors take their facts by name


def _headers(answer: Response) -> Any:
    from botocore.compat import HTTPHeaders

    headers = HTTPHeaders()
    for name, value in answer.headers:
        headers[name] = value
    return headers
