"""From a raw request to an operation and its input document."""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Mapping
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
    """The routes of a model: a dictionary, and the one template the model has."""

    def __init__(self, model: ServiceModel) -> None:
        """Index the model's operations by method and path."""
        self._exact: dict[tuple[str, str], Operation] = {}
        self._tags: dict[str, Operation] = {}
        self._places: dict[str, dict[str, tuple[str, str]]] = {}
        for operation in model.operations.values():
            if operation.path.startswith(TAGS_PATH):
                self._tags[operation.method] = operation
            else:
                self._exact[operation.method, operation.path] = operation
            members = model.shapes[operation.input]["members"] if operation.input else {}
            self._places[operation.name] = {
                name: (member["location"], member.get("locationName", name))
                for name, member in members.items()
                if "location" in member
            }

    def find(self, request: Request) -> Operation:
        """Return the operation a request is for.

        The ARN in a tag path holds a slash, encoded by every SDK but not by everyone: whatever
        follows the prefix is the ARN.
        """
        found = self._exact.get((request.method, request.path))
        if found is None and request.path.startswith(TAGS_PATH):
            found = self._tags.get(request.method)
        if found is None:
            raise ApiError(
                "UnknownOperationException",
                f"No operation of the service answers {request.method} {request.path[:200]}",
            )
        return found

    def input_of(self, operation: Operation, request: Request) -> JsonDict:
        """Return the input document: members of body, path and query string together."""
        document = parse_body(request)
        for member, (location, name) in self._places[operation.name].items():
            if location == "uri":
                document[member] = unquote(request.path.removeprefix(TAGS_PATH))
            elif location == "querystring":
                # A list without items sends no parameter: on the wire an empty one and a missing one are the same.
                document[member] = query_values(request.query, name)
        return document


def query_values(query: str, name: str) -> list[str]:
    """Return the values of a repeated parameter; a literal plus is a plus."""
    pairs = (part.partition("=") for part in query.split("&") if part)
    return [unquote(value) for key, _, value in pairs if unquote(key) == name]


def parse_body(request: Request) -> JsonDict:
    """Return the JSON body; nothing at all counts as an empty document."""
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
    """Return the body as sent, unpacked if compressed, refused if larger than 1 MB (assumed)."""
    body = request.body
    if request.headers.get("content-encoding", "").lower() == "gzip":
        try:
            body = gunzip(body)
        except (OSError, EOFError, zlib.error):
            raise ApiError("SerializationException", "The body is not valid gzip") from None
    if len(body) > MAX_BODY:
        raise ApiError("RequestEntityTooLargeException", "Request body is too large")
    return body


def gunzip(body: bytes) -> bytes:
    """Unpack at most a byte more than is accepted, so that a small bomb stays small."""
    return zlib.decompressobj(wbits=31).decompress(body, MAX_BODY + 1)


def gzip_answer(body: bytes, headers: Mapping[str, str]) -> bytes | None:
    """Return the body compressed, if the caller takes it and it is worth it."""
    if len(body) < 1024 or "gzip" not in headers.get("accept-encoding", ""):
        return None
    return gzip.compress(body, compresslevel=1, mtime=0)
