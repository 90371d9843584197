"""The control API over HTTP, server and client: an operation is a path, arguments and results are JSON.

Changes need a JSON content type, which a page of another site cannot send without being asked for its origin first.
"""

from __future__ import annotations

import hmac
import json
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, urlsplit

from reconciler.sandbox.control import Control, check_types
from reconciler.sandbox.settings import ControlError
from reconciler.sandbox.wire import JSON_TYPE, Request, Response, json_bytes, parse_position

if TYPE_CHECKING:
    import http.client
    import urllib.error

PREFIX = "/_sandbox/"
TOKEN_VARIABLE = "IVS_SANDBOX_TOKEN"  # noqa: S105 - the name of a variable
_TIMEOUT_SECONDS = 30.0
QUERIES = frozenset(
    "faults assumptions conditions version inventory kinds resource quotas calls events resources worlds live".split()  # noqa: SIM905
)
CHANGES = frozenset(name for name in vars(Control) if not name.startswith("_")) - QUERIES


def refuse_without_token(request: Request, token: str) -> Response | None:
    """Return a refusal if a token is needed for this path of the control API and the request has another one, or none."""
    if not token or _operation(request) == "version":
        return None
    given = request.headers.get("authorization", "").removeprefix("Bearer ")
    if hmac.compare_digest(given.encode(), token.encode()):
        return None
    return refusal(
        401, f"the control API of this sandbox needs its token: set {TOKEN_VARIABLE}, or use --control-token-file"
    )


def _operation(request: Request) -> str:
    return request.path.removeprefix(PREFIX).strip("/").replace("-", "_")


def answer(control: Control, request: Request) -> Response:
    """Return the answer to a request under /_sandbox/."""
    name = _operation(request)
    if name in QUERIES and request.method == "GET":
        arguments: Any = dict(parse_qsl(request.query))
        numbers = {name: parse_position(arguments.get(name, "")) for name in ("limit", "offset", "before")}
        arguments |= {name: number for name, number in numbers.items() if number is not None}
    elif name in QUERIES | CHANGES and request.method == "POST":
        if not request.headers.get("content-type", "").startswith(JSON_TYPE):
            return refusal(415, f"content type must be {JSON_TYPE}")
        try:
            arguments = json.loads(request.body or b"{}")
        except (ValueError, RecursionError):
            return refusal(400, "the body is not valid JSON")
        if not isinstance(arguments, dict):
            return refusal(400, "the arguments must be a JSON object")
    else:
        known = ", ".join(sorted(QUERIES | CHANGES))
        return refusal(404, f"unknown control operation {request.method} {name!r}; known: {known}")
    operation = getattr(control, name)
    try:
        check_types(operation, arguments)
        return Response(200, (("Content-Type", JSON_TYPE),), json_bytes(operation(**arguments)) + b"\n")
    except TypeError as error:
        return refusal(400, f"{name}: {error}")
    except ControlError as error:
        return refusal(400, str(error))


def refusal(status: int, text: str) -> Response:
    """Return an error of the control API."""
    return Response(status, (("Content-Type", JSON_TYPE),), json_bytes({"error": text}) + b"\n")


class RemoteControl:
    """Calls the operations of `Control` over HTTP, on a sandbox of another process."""

    def __init__(self, endpoint: str, token: str = "") -> None:
        """Take the endpoint URL of a serving sandbox, and its control token if it needs one."""
        if urlsplit(endpoint).scheme not in ("http", "https"):
            raise ControlError(f"{endpoint!r} is not an http URL")
        self._endpoint = endpoint.rstrip("/")
        self._headers = {"Authorization": f"Bearer {token}"} if token else {}

    def call(self, name: str, /, **arguments: Any) -> Any:
        """Return the result of one control operation.

        Raises ControlError if the sandbox refuses it or does not answer.
        """
        with self._open(name, json.dumps(arguments).encode(), _TIMEOUT_SECONDS) as answer:
            try:
                return json.load(answer)
            except (OSError, ValueError) as error:
                raise self._unreachable(error) from None

    def follow(self) -> Iterator[dict[str, Any]]:
        """Yield events until the sandbox stops. Raises ControlError if it refuses or does not answer."""
        with self._open("events/stream") as answer:
            try:
                for line in answer:
                    if line.startswith(b"data: "):
                        yield json.loads(line.removeprefix(b"data: "))
            except OSError as error:
                raise self._unreachable(error) from None

    def _open(self, path: str, content: bytes | None = None, seconds: float | None = None) -> http.client.HTTPResponse:
        """Return the answer, to read. Raises ControlError if the sandbox refuses, or does not answer within ``seconds``."""
        # Imported here: a server would take a tenth longer to start.
        import urllib.error
        import urllib.request

        headers = self._headers if content is None else {"Content-Type": "application/json", **self._headers}
        request = urllib.request.Request(f"{self._endpoint}/_sandbox/{path}", content, headers)  # noqa: S310 - the scheme was checked
        try:
            answer: http.client.HTTPResponse = urllib.request.urlopen(request, timeout=seconds)  # noqa: S310
        except urllib.error.HTTPError as error:
            raise ControlError(_text_of(error)) from None
        except (OSError, ValueError) as error:
            raise self._unreachable(error) from None
        return answer

    def _unreachable(self, error: Exception) -> ControlError:
        return ControlError(
            f"no sandbox at {self._endpoint}: {_reason(error)}; start it with sandbox serve, or name another endpoint"
        )


def _reason(error: Exception) -> str:
    """Return why a connection failed: urllib wraps the error, whose own text has a number."""
    cause = getattr(error, "reason", error)
    return getattr(cause, "strerror", None) or str(cause)


def _text_of(error: urllib.error.HTTPError) -> str:
    try:
        return str(json.load(error)["error"])
    except (ValueError, KeyError, TypeError):
        return f"HTTP {error.code}"
