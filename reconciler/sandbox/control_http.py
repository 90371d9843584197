"""The control API over HTTP, server and client: an operation is a path, arguments and results are JSON.

Pages of other sites in a browser cannot use it: requests with another Origin are refused, and changes need a JSON
content type.
"""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, urlsplit

from reconciler.sandbox.control import Control, ControlError
from reconciler.sandbox.wire import JSON_TYPE, Request, Response, json_bytes, parse_position

if TYPE_CHECKING:
    import urllib.error

PREFIX = "/_sandbox/"
QUERIES = frozenset(
    {
        "faults",
        "assumptions",
        "conditions",
        "version",
        "inventory",
        "quotas",
        "calls",
        "events",
        "resources",
        "worlds",
        "live",
    }
)
CHANGES = frozenset(
    {
        "go_live",
        "go_offline",
        "set_health",
        "set_viewers",
        "add_fault",
        "deny",
        "assume",
        "clear_faults",
        "set_lag",
        "set_rates",
        "set_quota",
        "clear_calls",
        "advance",
        "drift",
        "reset",
    }
)


def answer(control: Control, request: Request) -> Response:
    """Return the answer to a request under /_sandbox/."""
    name = request.path.removeprefix(PREFIX).strip("/").replace("-", "_")
    if _has_other_origin(request):
        return _refusal(403, "requests from other origins are refused")
    if name in QUERIES and request.method == "GET":
        arguments: Any = _typed(control, name, dict(parse_qsl(request.query)))
    elif name in QUERIES | CHANGES and request.method == "POST":
        if not request.headers.get("content-type", "").startswith(JSON_TYPE):
            return _refusal(415, f"content type must be {JSON_TYPE}")
        try:
            arguments = json.loads(request.body or b"{}")
        except (ValueError, RecursionError):
            return _refusal(400, "the body is not valid JSON")
    else:
        known = ", ".join(sorted(QUERIES | CHANGES))
        return _refusal(404, f"unknown control operation {request.method} {name!r}; known: {known}")
    return _run(control, name, arguments)


def _run(control: Control, name: str, arguments: Any) -> Response:
    operation = getattr(control, name)
    try:
        _check_types(operation, arguments)
        return _ok(operation(**arguments))
    except TypeError as error:
        return _refusal(400, f"{name}: {error}")
    except ControlError as error:
        return _refusal(400, str(error))


def _typed(control: Control, name: str, values: dict[str, str]) -> dict[str, Any]:
    """Return query parameters, as numbers where the operation's signature has an int."""
    parameters = inspect.signature(getattr(control, name)).parameters
    numbers = {
        key: parse_position(value)
        for key, value in values.items()
        if key in parameters and isinstance(parameters[key].default, int)
    }
    return {key: value if numbers.get(key) is None else numbers[key] for key, value in values.items()}


_TYPES: Mapping[str, tuple[type, ...]] = {
    "str": (str,),
    "int": (int,),
    "float": (int, float),
    "JsonDict": (dict,),
    "bool": (bool,),
}


def _check_types(operation: Callable[..., object], arguments: Any) -> None:
    """Raise TypeError for unknown, missing or wrongly typed arguments, by the operation's signature."""
    if not isinstance(arguments, dict):
        raise TypeError("the arguments must be a JSON object")
    signature = inspect.signature(operation)
    for name, value in signature.bind(**arguments).arguments.items():
        wanted = _TYPES.get(signature.parameters[name].annotation)
        if wanted is not None and (not isinstance(value, wanted) or (isinstance(value, bool) and bool not in wanted)):
            raise TypeError(
                f"{name} must be of type {'object' if dict in wanted else signature.parameters[name].annotation}"
            )


def _has_other_origin(request: Request) -> bool:
    origin = request.headers.get("origin", "")
    return bool(origin) and urlsplit(origin).netloc != request.headers.get("host", "")


def _ok(result: object) -> Response:
    return Response(200, (("Content-Type", JSON_TYPE),), json_bytes(result) + b"\n")


def _refusal(status: int, text: str) -> Response:
    return Response(status, (("Content-Type", JSON_TYPE),), json_bytes({"error": text}) + b"\n")


_TIMEOUT_SECONDS = 30.0


class RemoteControl:
    """Calls the operations of `Control` over HTTP, on a sandbox of another process."""

    def __init__(self, endpoint: str) -> None:
        """Take the endpoint URL of a serving sandbox."""
        if urlsplit(endpoint).scheme not in ("http", "https"):
            raise ControlError(f"{endpoint!r} is not an http URL")
        self._endpoint = endpoint.rstrip("/")

    def call(self, name: str, /, **arguments: Any) -> Any:
        """Return the result of one control operation.

        Raises ControlError if the sandbox refuses it or does not answer.
        """
        # Imported here: a server would take a tenth longer to start.
        import urllib.error
        import urllib.request

        request = urllib.request.Request(  # noqa: S310 - the scheme was checked
            f"{self._endpoint}/_sandbox/{name}",
            json.dumps(arguments).encode(),
            {"Content-Type": "application/json"},
        )
        try:
            with urllib.request.urlopen(request, timeout=_TIMEOUT_SECONDS) as answer:  # noqa: S310
                return json.load(answer)
        except urllib.error.HTTPError as error:
            raise ControlError(_text_of(error)) from None
        except (OSError, ValueError) as error:
            raise ControlError(f"no sandbox at {self._endpoint}: {_reason(error)}") from None

    def follow(self) -> Iterator[dict[str, Any]]:
        """Yield events until the sandbox stops.

        Raises ControlError if it does not answer.
        """
        import urllib.request

        try:
            with urllib.request.urlopen(f"{self._endpoint}/_sandbox/events/stream") as answer:  # noqa: S310
                for line in answer:
                    if line.startswith(b"data: "):
                        yield json.loads(line.removeprefix(b"data: "))
        except OSError as error:
            raise ControlError(f"no sandbox at {self._endpoint}: {_reason(error)}") from None


def _reason(error: Exception) -> str:
    """Return why a connection failed: urllib wraps the error, whose own text has a number."""
    cause = getattr(error, "reason", error)
    return getattr(cause, "strerror", None) or str(cause)


def _text_of(error: urllib.error.HTTPError) -> str:
    try:
        return str(json.load(error)["error"])
    except (ValueError, KeyError, TypeError):
        return f"HTTP {error.code}"
