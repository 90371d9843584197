"""Short words for what the tests say often."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any
from urllib.parse import quote

import pytest
from botocore.exceptions import ClientError

from reconciler.sandbox.model import Operation
from reconciler.sandbox.wire import Request

PUBLIC_KEY = """-----BEGIN PUBLIC KEY-----
MHYwEAYHKoZIzj0CAQYFK4EEACIDYgAE4IPwqoEWo1NdfNGF6kD9ETwf4dUSCq84
XvDt32MxWHNSfHkLOXt8Qz/nxosQwafrHhrUlJ/wi65ThXSAw7aOomQ2TOv0O/hn
OSeMfgong9BpLinI9olwzhmSxyO97nfR
-----END PUBLIC KEY-----
"""
FINGERPRINT = "7e:1d:7a:32:61:51:a5:7b:18:39:2e:44:d5:ff:4f:9d"


def refusal(call: Callable[..., Any], **arguments: Any) -> tuple[int, str]:
    """Status and code of the error a call is answered with."""
    with pytest.raises(ClientError) as caught:
        call(**arguments)
    response = caught.value.response
    return response["ResponseMetadata"]["HTTPStatusCode"], response["Error"]["Code"]


def message(call: Callable[..., Any], **arguments: Any) -> str:
    """Text of the error a call is answered with."""
    with pytest.raises(ClientError) as caught:
        call(**arguments)
    return str(caught.value.response["Error"]["Message"])


def request_for(operation: Operation, members: dict[str, Any], account: str, region: str) -> Request:
    """Return a call of an operation by a caller of an account and region, as a client would send it, but unsigned."""
    members = dict(members)
    path, query = operation.path, ""
    if "{resourceArn}" in path:
        path = f"/tags/{quote(members.pop('resourceArn'), safe='')}"
        query = "&".join(f"tagKeys={quote(key)}" for key in members.pop("tagKeys", []))
    scope = f"AWS4-HMAC-SHA256 Credential={account}/20260101/{region}/ivs/aws4_request, SignedHeaders=host, Signature=0"
    return Request(operation.method, path, query, {"authorization": scope}, json.dumps(members).encode())
