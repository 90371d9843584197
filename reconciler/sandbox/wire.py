"""Requests and answers as values, free of sockets; and how an error looks on the wire.

The engine takes a `Request` and gives a `Response`; the HTTP server and the in-process transport
only translate. A `Response` may ask its transport to break the connection (`Disruption`).

Nobody changes a value once it is made. Those that every call makes are not frozen all the same, here
and elsewhere in the sandbox: freezing makes their making four times dearer.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import TypeGuard

JSON_TYPE = "application/json"

# Beyond every instant and count that means anything, and well inside what SQLite and `float` can hold.
_MOST = 1 << 53

# Compact JSON, non-ASCII characters as they are; made once, as making an encoder takes as long as a small answer.
json_text: Callable[[object], str] = json.JSONEncoder(separators=(",", ":"), ensure_ascii=False).encode
_random = random.Random()  # noqa: S311 - request ids are unique, not secret; asking the system for each takes longer

_EXPOSED = (
    "Access-Control-Allow-Origin,Access-Control-Expose-Headers,Cache-Control,Content-Length,"
    "Content-Security-Policy,Content-Type,date,Strict-Transport-Security,x-amz-apigw-id,"
    "x-amzn-errormessage,x-amzn-errortype,x-amzn-requestid,x-amzn-trace-id,"
    "X-Content-Type-Options,X-Frame-Options"
)
# The service sits behind a browser-facing front: these headers come with every error and every
# batch answer (service model: header members of all error shapes; values as AWS's own examples of
# the sister API print them, the odd colon in Strict-Transport-Security included).
FRONT_HEADERS: tuple[tuple[str, str], ...] = (
    ("Access-Control-Allow-Origin", "*"),
    ("Access-Control-Expose-Headers", _EXPOSED),
    ("Cache-Control", "no-store, no-cache"),
    ("Content-Security-Policy", "default-src 'self'; upgrade-insecure-requests;"),
    ("Strict-Transport-Security", "max-age:47304000; includeSubDomains"),
    ("X-Content-Type-Options", "nosniff"),
    ("X-Frame-Options", "DENY"),
)

# Answers of AWS's common front that the ivs model does not list (IVS API reference: common errors).
COMMON_ERRORS: Mapping[str, int] = {
    "AccessDeniedException": 403,
    "ExpiredTokenException": 403,
    "IncompleteSignatureException": 403,
    "InternalServerException": 500,
    "InvalidSignatureException": 403,
    "MissingAuthenticationTokenException": 403,
    "RequestEntityTooLargeException": 413,
    "SerializationException": 400,
    "ServiceUnavailable": 503,
    "ThrottlingException": 429,
    "UnknownOperationException": 404,
    "UnrecognizedClientException": 403,
    "ValidationException": 400,
}


class Disruption(Enum):
    """What the transport does to the connection instead of, or while, answering."""

    RESET = "reset"
    TRUNCATE = "truncate"
    HANG = "hang"


@dataclass(slots=True)
class Request:
    """One HTTP request; `path` and `query` are raw, still percent-encoded; header names lower-case.

    The ARN in a tag path is one percent-encoded segment, so it must not be decoded before routing.
    """

    method: str
    path: str
    query: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""


@dataclass(slots=True)
class Response:
    """One HTTP answer.

    With a `stream` it has no end of its own and `body` is not used; `hold` is how long a connection
    that hangs is held.
    """

    status: int
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes = b""
    disruption: Disruption | None = None
    hold: float = 0.0
    stream: Iterator[bytes] | None = None


def is_number(value: object) -> TypeGuard[int | float]:
    """Whether a value of JSON is a number that can be counted with: JSON's true is none, nor is what Python reads as NaN or infinity."""
    return isinstance(value, int | float) and not isinstance(value, bool) and -_MOST <= value <= _MOST


def position(text: str) -> int | None:
    """Return the place in a log that a text names, if it names one."""
    return int(text) if len(text) < 16 and text.isascii() and text.isdecimal() else None


class ApiError(Exception):
    """An answer in the service's own terms: an error code and a text for people.

    The text must never hold a secret: it goes to the caller, the call record and the log.
    """

    def __init__(self, code: str, message: str, *, status: int | None = None) -> None:
        """Name the error; `status` is only needed for codes that neither model nor front know."""
        super().__init__(f"{code}: {message}")
        self.code = code
        self.message = message
        self.status = status


def new_request_id() -> str:
    """Return a request id as AWS writes them: a random UUID."""
    digits = f"{_random.getrandbits(128):032x}"
    return f"{digits[:8]}-{digits[8:12]}-4{digits[13:16]}-a{digits[17:20]}-{digits[20:]}"


def json_bytes(value: object) -> bytes:
    """Return a body."""
    return json_text(value).encode()


def error_response(
    status: int, code: str, message: str, request_id: str, further: tuple[tuple[str, str], ...] = ()
) -> Response:
    """Return an error as the service sends it.

    The code travels in the header. The model's body member is `exceptionMessage`, but SDKs read
    `message`, and users of the real service do see texts: so both are sent.
    """
    headers = (
        ("Content-Type", JSON_TYPE),
        ("x-amzn-RequestId", request_id),
        ("x-amzn-ErrorType", code),
        *FRONT_HEADERS,
        *further,
    )
    return Response(status, headers, json_bytes({"message": message, "exceptionMessage": message}))
