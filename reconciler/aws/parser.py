"""A botocore response parser that reads REST-JSON answers with a JSON parser alone.

botocore walks every answer along its service model, which is most of the cost of a list page. Members in the JSON have the names of the model,
so only two things differ: timestamps stay ISO 8601 strings, and headers do not become members. Errors and other protocols use botocore's parser.
A truncated body is an error: botocore would take it for an empty list. pydantic's parser takes half the time of the JSON module.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from botocore.parsers import JSONParser, ResponseParserError, ResponseParserFactory, RestJSONParser
from pydantic_core import from_json

from reconciler.terminal import without_surrogates


class PlainParserFactory(ResponseParserFactory):  # type: ignore[misc]  # botocore has no types
    """A botocore session's factory of parsers; register it as the component ``response_parser_factory``."""

    def create_parser(self, protocol_name: str) -> object:
        """Return our parser for REST-JSON, botocore's for other protocols."""
        match protocol_name:
            case "rest-json":
                return _PlainParser()
            case "json":
                return _WholeJson()
            case _:
                return super().create_parser(protocol_name)


class _Whole:
    """Replaces botocore's JSON reader with one that removes lone surrogates."""

    def _parse_body_as_json(self, body: bytes) -> Any:
        """Return the content of a body, as botocore's method does; a body that is not JSON becomes a message."""
        try:
            said = _read(body) if body else {}
        except TooDeepError:
            said = {}
        except ValueError:
            said = {"message": body.decode(errors="replace")}
        return said if isinstance(said, dict) else {}


class _WholeJson(_Whole, JSONParser):  # type: ignore[misc]
    """botocore's parser of the protocol ``json``."""


class _PlainParser(_Whole, RestJSONParser):  # type: ignore[misc]
    """Parses successful answers directly, and errors as botocore does."""

    def parse(self, response: Mapping[str, Any], shape: object) -> dict[str, Any]:
        """Return the answer's members with ``ResponseMetadata``. Raises ``ResponseParserError`` for a success that is no JSON object."""
        status = int(response["status_code"])
        if status >= 300:
            parsed: dict[str, Any] = super().parse(
                response if _holds_object(response["body"]) else {**response, "body": b""}, shape
            )
            return parsed
        body = response["body"]
        try:
            answer = _read(body) if body else {}
        except ValueError:
            answer = None
        if not isinstance(answer, dict):
            raise ResponseParserError(
                f"the body of an answer with HTTP status {status} is not a JSON object, is truncated, or is nested too deeply"
            )
        headers = response["headers"]
        answer["ResponseMetadata"] = {"RequestId": headers.get("x-amzn-requestid", ""), "HTTPStatusCode": status}
        return answer


MAX_DEPTH = 64
"""Levels of arrays and objects that an answer may nest; the services need fewer than ten, and each level costs stack."""

_NO_BRACKETS = bytes(sorted(set(range(256)) - set(b"[]{}")))


class TooDeepError(ValueError):
    """A JSON text nests deeper than any answer of AWS."""


def _read(body: bytes) -> Any:
    """Return the value of a JSON text, without lone surrogates. Raises ``ValueError``."""
    strict = True
    try:
        answer = from_json(body, cache_strings="keys")
    except ValueError:
        # It refuses lone surrogates, more than 200 levels, and what is no JSON.
        strict = False
        try:
            answer = json.loads(body)
        except RecursionError:
            raise TooDeepError from None
    if _may_be_deep(body) and _is_deep(answer):
        raise TooDeepError
    return answer if strict else without_surrogates(answer)


def _may_be_deep(body: bytes) -> bool:
    """Whether the brackets of a text allow more than ``MAX_DEPTH`` levels; brackets inside strings count too."""
    brackets = body.translate(None, _NO_BRACKETS)
    for _ in range(MAX_DEPTH):
        if not brackets:
            return False
        brackets = brackets.replace(b"[]", b"").replace(b"{}", b"")
    return bool(brackets)


def _is_deep(value: object) -> bool:
    level = [value]
    for _ in range(MAX_DEPTH + 1):
        level = [
            item
            for one in level
            if isinstance(one, dict | list)
            for item in (one.values() if isinstance(one, dict) else one)
        ]
    return bool(level)


def _holds_object(body: bytes) -> bool:
    try:
        return isinstance(_read(body), dict)
    except ValueError:
        return False
