"""Routing: the operation of a request, and its input document."""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Collection, Mapping
from typing import NoReturn
from urllib.parse import unquote

from reconciler.sandbox.model import JsonDict, Operation, ServiceModel
from reconciler.sandbox.wire import ApiError, Request

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
