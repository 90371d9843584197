"""Requests and answers as values, independent of the transport, and errors as the service sends them.

The engine maps a `Request` to a `Response`; the HTTP server and the in-process transport translate. A `Response` can
make its transport break the connection (`Disruption`).

Values are not changed once created. Those of every call are not frozen dataclasses, here and elsewhere in the sandbox:
creating a frozen one takes four times as long.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import TypeGuard

JSON_TYPE = "application/json"

# Larger than every meaningful instant and count, and exact in SQLite and `float`.
_LARGEST = 1 << 53

# Compact JSON without ASCII escapes. One encoder for all: creating one takes as long as a small answer.
json_text: Callable[[object], str] = json.JSONEncoder(separators=(",", ":"), ensure_ascii=False).encode
_random = random.Random()  # noqa: S311 - request ids are unique, not secret; the system's generator is slower

_EXPOSED = (
    "Access-Control-Allow-Origin,Access-Control-Expose-Headers,Cache-Control,Content-Length,"
    "Content-Security-Policy,Content-Type,date,Strict-Transport-Security,x-amz-apigw-id,"
    "x-amzn-errormessage,x-amzn-errortype,x-amzn-requestid,x-amzn-trace-id,"
    "X-Content-Type-Options,X-Frame-Options"
)
# Sent with every error and every batch answer (service model: header members of all error shapes; values, the colon in
# Strict-Transport-Security included, as in AWS's examples of the Real-Time API).
FRONT_HEADERS: tuple[tuple[str, str], ...] = (
    ("Access-Control-Allow-Origin", "*"),
    ("Access-Control-Expose-Headers", _EXPOSED),
    ("Cache-Control", "no-store, no-cache"),
    ("Content-Security-Policy", "default-src 'self'; upgrade-insecure-requests;"),
    ("Strict-Transport-Security", "max-age:47304000; includeSubDomains"),
    ("X-Content-Type-Options", "nosniff"),
    ("X-Frame-Options", "DENY"),
)

# Errors that all services answer, and models do not list (IVS API reference: common errors).
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
    """How the transport breaks the connection instead of, or while, answering."""

    RESET = "reset"
    TRUNCATE = "truncate"
    HANG = "hang"


@dataclass(slots=True)
class Request:
    """One HTTP request, with header names in lower case.

    `path` and `query` are still percent-encoded: the ARN in a tag path is one encoded segment.
    """

    method: str
    path: str
    query: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""


@dataclass(slots=True)
class Response:
    """One HTTP answer.

    stream: the parts of an answer without end, instead of `body`.
    hold: the seconds until a connection that hangs is reset.
    """

    status: int
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes = b""
    disruption: Disruption | None = None
    hold: float = 0.0
    stream: Iterator[bytes] | None = None


def is_number(value: object) -> TypeGuard[int | float]:
    """Return whether a JSON value is a finite number; true, which is an int in Python, is not."""
    return isinstance(value, int | float) and not isinstance(value, bool) and -_LARGEST <= value <= _LARGEST


def parse_position(text: str) -> int | None:
    """Return the position in a log that a text holds, None if it holds none."""
    return int(text) if len(text) < 16 and text.isascii() and text.isdecimal() else None


class ApiError(Exception):
    """An error of the service: a code and a message.

    The message must not hold a secret: it goes to the caller, the call log and the process's log.
    """

    def __init__(self, code: str, message: str, *, status: int | None = None) -> None:
        """Take code and message; `status` is needed for codes that are not in the model or COMMON_ERRORS."""
        super().__init__(f"{code}: {message}")
        self.code = code
        self.message = message
        self.status = status


def new_request_id() -> str:
    """Return a request id in AWS's form, a random UUID."""
    digits = f"{_random.getrandbits(128):032x}"
    return f"{digits[:8]}-{digits[8:12]}-4{digits[13:16]}-a{digits[17:20]}-{digits[20:]}"


def json_bytes(value: object) -> bytes:
    """Return a value as the bytes of compact JSON."""
    return json_text(value).encode()


def error_response(
    status: int, code: str, message: str, request_id: str, further: tuple[tuple[str, str], ...] = ()
) -> Response:
    """Return an error as the service sends it, with the code in a header.

    The model's body member is `exceptionMessage`, SDKs read `message`: both are sent.
    """
    headers = (
        ("Content-Type", JSON_TYPE),
        ("x-amzn-RequestId", request_id),
        ("x-amzn-ErrorType", code),
        *FRONT_HEADERS,
        *further,
    )
    return Response(status, headers, json_bytes({"message": message, "exceptionMessage": message}))
