"""Short words for what the tests say often."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from botocore.exceptions import ClientError

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
