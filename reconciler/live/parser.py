"""Turns an answer's bytes into a dict with one pass of the JSON module.

botocore walks every member of every answer along its service model, which is most of what a list page costs.
IVS answers hold JSON whose members are named as in the model, so the walk changes but two things.
Timestamps become datetimes (here they stay ISO 8601 text), and headers become members (here they stay out).
Errors go through botocore's own parser, after their bodies were seen to be JSON objects; other protocols (STS) are botocore's altogether.
A body that is not whole is an error: botocore would take a list cut in the middle for an empty one.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from botocore.parsers import ResponseParserError, ResponseParserFactory, RestJSONParser


class PlainParserFactory(ResponseParserFactory):  # type: ignore[misc]  # botocore has no types
    """What a botocore session asks for parsers; register it as the component ``response_parser_factory``."""

    def create_parser(self, protocol_name: str) -> object:
        """Return our parser for REST-JSON, botocore's for the rest."""
        return _PlainParser() if protocol_name == "rest-json" else super().create_parser(protocol_name)


class _PlainParser(RestJSONParser):  # type: ignore[misc]
    """Parses successes plainly and errors as botocore does."""

    def parse(self, response: Mapping[str, Any], shape: object) -> dict[str, Any]:
        """Return the answer's members with ``ResponseMetadata``. Raises ``ResponseParserError`` for a success that is no JSON object."""
        status = int(response["status_code"])
        if status >= 300:
            parsed: dict[str, Any] = super().parse(response if _holds_object(response["body"]) else {**response, "body": b""}, shape)
            return parsed
        body = response["body"]
        try:
            answer = json.loads(body) if body else {}
        except ValueError:
            answer = None
        if not isinstance(answer, dict):
            raise ResponseParserError(f"the body of an answer with HTTP status {status} is not a JSON object, or was cut short")
        headers = response["headers"]
        answer["ResponseMetadata"] = {"RequestId": headers.get("x-amzn-requestid", ""), "HTTPStatusCode": status}
        return answer


def _holds_object(body: bytes) -> bool:
    try:
        return isinstance(json.loads(body), dict)
    except ValueError:
        return False
