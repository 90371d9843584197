"""The control API of a sandbox that runs elsewhere: in another process, behind its endpoint."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

from reconciler.sandbox.control_streams import ControlError

TIMEOUT_SECONDS = 30.0


class RemoteControl:
    """Calls the control operations of `Control` by name, over HTTP."""

    def __init__(self, endpoint: str) -> None:
        """Take the endpoint URL of a serving sandbox."""
        if urlsplit(endpoint).scheme not in ("http", "https"):
            raise ControlError(f"{endpoint!r} is not an http URL")
        self._endpoint = endpoint.rstrip("/")

    def call(self, name: str, /, **arguments: Any) -> Any:
        """Run one control operation and return its result."""
        request = urllib.request.Request(  # noqa: S310 - the scheme was checked
            f"{self._endpoint}/_sandbox/{name}",
            json.dumps(arguments).encode(),
            {"Content-Type": "application/json"},
        )
        try:
            with urllib.request.urlopen(request, timeout=TIMEOUT_SECONDS) as answer:  # noqa: S310
                return json.load(answer)
        except urllib.error.HTTPError as error:
            raise ControlError(_text_of(error)) from None
        except (OSError, ValueError) as error:
            raise ControlError(f"no sandbox answers at {self._endpoint} ({error})") from None

    def follow(self) -> Iterator[dict[str, Any]]:
        """Yield events as they come, until the server goes."""
        try:
            with urllib.request.urlopen(f"{self._endpoint}/_sandbox/events/stream") as answer:  # noqa: S310
                for line in answer:
                    if line.startswith(b"data: "):
                        yield json.loads(line.removeprefix(b"data: "))
        except OSError as error:
            raise ControlError(f"no sandbox answers at {self._endpoint} ({error})") from None


def _text_of(error: urllib.error.HTTPError) -> str:
    try:
        return str(json.load(error)["error"])
    except (ValueError, KeyError, TypeError):
        return f"HTTP {error.code}"
