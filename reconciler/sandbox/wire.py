"""Requests and answers as values, independent of the transport, the operation that a request names, and errors as the service sends them.

The engine maps a `Request` to a `Response`; the HTTP server and the in-process transport translate. A `Response` can
make its transport break the connection (`Disruption`).

Values are not changed once created. Those of every call are not frozen dataclasses, here and elsewhere in the sandbox:
creating a frozen one takes four times as long.
"""

from __future__ import annotations

import gzip
import json
import random
import zlib
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import NoReturn, TypeGuard
from urllib.parse import unquote

from reconciler.sandbox.model import JsonDict, Operation, ServiceModel

JSON_TYPE = "application/json"

# Larger than every meaningful instant and count, and exact in SQLite and `float`.
_MAX_NUMBER = 1 << 53

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
    return isinstance(value, int | float) and not isinstance(value, bool) and -_MAX_NUMBER <= value <= _MAX_NUMBER


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


MAX_BODY = 1024 * 1024
TAGS_PATH = "/tags/"


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


_decode = json.JSONDecoder(parse_constant=_refuse_constant).decode


class Router:
    """The routes of all services: exact paths, and the tag path, whose service is the one in the ARN."""

    def __init__(self, models: Collection[ServiceModel]) -> None:
        """Index the operations by method and path."""
        self._exact: dict[tuple[str, str], Operation] = {}
        self._tags: dict[tuple[str, str], Operation] = {}
        self._default = next(iter(models)).service
        for operation in (each for model in models for each in model.operations.values()):
            if operation.path.startswith(TAGS_PATH):
                self._tags[operation.service, operation.method] = operation
            else:
                self._exact[operation.method, operation.path] = operation

    def find(self, request: Request) -> Operation:
        """Return the operation of a request.

        Everything after the prefix of a tag path is the ARN: SDKs encode its slash, other clients may not. Raises
        ApiError if no operation has the path.
        """
        found = self._exact.get((request.method, request.path))
        if found is None and request.path.startswith(TAGS_PATH):
            service = tagged_arn(request.path).split(":", 3)[2:3]
            found = self._tags.get((service[0] if service else "", request.method)) or self._tags.get(
                (self._default, request.method)
            )
        if found is None:
            raise ApiError(
                "UnknownOperationException",
                f"No operation of the service answers {request.method} {request.path[:200]}",
            )
        return found


def input_of(operation: Operation, request: Request) -> JsonDict:
    """Return the input document: the members of body, path and query string."""
    document = parse_body(request)
    for member, (location, name) in operation.locations.items():
        if location == "uri":
            document[member] = tagged_arn(request.path)
        elif location == "querystring":
            # An empty list sends no parameter, as a missing one does.
            document[member] = query_values(request.query, name)
    return document


def tagged_arn(path: str) -> str:
    """Return the ARN in a tag path."""
    return unquote(path.removeprefix(TAGS_PATH))


def query_values(query: str, name: str) -> list[str]:
    """Return the values of a repeated parameter; a plus is a plus, not a space."""
    pairs = (part.partition("=") for part in query.split("&") if part)
    return [unquote(value) for key, _, value in pairs if unquote(key) == name]


def parse_body(request: Request) -> JsonDict:
    """Return the JSON object in the body, an empty one if there is no body. Raises ApiError."""
    body = plain_body(request)
    if not body.strip():
        return {}
    try:
        document = _decode(body.decode())
    except (ValueError, RecursionError):
        raise ApiError("SerializationException", "The request body is not valid JSON") from None
    if not isinstance(document, dict):
        raise ApiError("SerializationException", "The request body is not a JSON object")
    return document


def plain_body(request: Request) -> bytes:
    """Return the body, decompressed. Raises ApiError for bad gzip, or more than 1 MB (assumed)."""
    body = request.body
    if request.headers.get("content-encoding", "").lower() == "gzip":
        try:
            # At most one byte more than is accepted, so that a gzip bomb stays small.
            body = zlib.decompressobj(wbits=31).decompress(body, MAX_BODY + 1)
        except zlib.error:
            raise ApiError("SerializationException", "The body is not valid gzip") from None
    if len(body) > MAX_BODY:
        raise ApiError("RequestEntityTooLargeException", "Request body is too large")
    return body


def gzip_answer(body: bytes, headers: Mapping[str, str]) -> bytes | None:
    """Return the body compressed, None if it is small or the client does not accept gzip."""
    if len(body) < 1024 or "gzip" not in headers.get("accept-encoding", ""):
        return None
    return gzip.compress(body, compresslevel=1, mtime=0)
