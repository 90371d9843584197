"""Which browser pages and which host names may use the server; applied to every path, before anything is processed.

A page of any site can send requests to a server on this machine, and with a DNS name that it controls also read the
answers. So a request with the Origin of another site is refused, and so is a Host that such a site could have chosen.
SDKs and command-line clients send no Origin.
"""

from __future__ import annotations

import functools
import ipaddress
from collections.abc import Collection
from dataclasses import dataclass, replace
from urllib.parse import urlsplit

from reconciler.sandbox.wire import FRONT_HEADERS, JSON_TYPE, Request, Response, json_bytes

_AWS_DOMAINS = (".amazonaws.com", ".amazonaws.com.cn", ".api.aws")
_METHODS = "GET, POST, DELETE, OPTIONS"
_PREFLIGHT_SECONDS = "600"
_CORS = tuple((name, value) for name, value in FRONT_HEADERS if name.startswith("Access-Control-"))


@dataclass(frozen=True, slots=True)
class Access:
    """The accepted origins and host names besides those of this machine, in lower case.

    origins: such as https://app.example.com. hosts: names without port; the address that the server listens on is one.
    """

    origins: Collection[str] = ()
    hosts: Collection[str] = ()

    def refusal(self, request: Request) -> Response | None:
        """Return the answer to a request with another Host or Origin, None for an accepted request."""
        host = request.headers.get("host", "").lower()
        if host and not self._accepts_host(host):
            return _forbidden(f"Host {host[:200]} is not accepted: use --allow-host, or an IP address")
        origin = request.headers.get("origin", "").lower()
        if origin and not self._accepts_origin(origin, host):
            return _forbidden(f"requests from origin {origin[:200]} are refused: use --allow-origin")
        return None

    def _accepts_host(self, host: str) -> bool:
        return _is_no_site(host) or _name_of(f"//{host}") in self.hosts

    def _accepts_origin(self, origin: str, host: str) -> bool:
        if origin in self.origins:
            return True
        scheme, mark, rest = origin.partition("://")
        return bool(mark) and scheme in ("http", "https") and (rest == host or is_local(_name_of(origin)))


def preflight(request: Request) -> Response | None:
    """Return the answer to a browser's question whether a page may send a request, None for other requests."""
    asked = request.headers.get("access-control-request-method")
    if request.method != "OPTIONS" or asked is None or "origin" not in request.headers:
        return None
    headers = [
        *_CORS,
        ("Access-Control-Allow-Methods", _METHODS),
        ("Access-Control-Allow-Headers", request.headers.get("access-control-request-headers", "*")),
        ("Access-Control-Max-Age", _PREFLIGHT_SECONDS),
    ]
    if request.headers.get("access-control-request-private-network") == "true":
        headers.append(("Access-Control-Allow-Private-Network", "true"))
    return Response(204, tuple(headers))


def with_cors(answer: Response, request: Request) -> Response:
    """Return the answer with the headers that let an accepted page read it."""
    if "origin" not in request.headers:
        return answer
    kept = tuple(pair for pair in answer.headers if not pair[0].startswith("Access-Control-"))
    return replace(answer, headers=(*kept, *_CORS))


def check_origin(text: str) -> str:
    """Return an origin in lower case. Raises ValueError if it is not `scheme://host[:port]`."""
    parts = urlsplit(text)
    if not parts.scheme or not parts.hostname or text.partition("://")[2] != parts.netloc or "@" in parts.netloc:
        raise ValueError(f"{text!r} is not an origin such as https://app.example.com")
    return text.lower()


def _name_of(url: str) -> str:
    """Return the host name of a URL without a final dot, "" if it has none."""
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError:
        return ""
    return "" if "@" in parts.netloc else (parts.hostname or "").removesuffix(".")


@functools.lru_cache(maxsize=256)
def _is_no_site(host: str) -> bool:
    """Return whether no site can make a browser send this Host to the server: an address, a name of AWS or of a container."""
    name = _name_of(f"//{host}")
    return _is_address(name) or is_local(name) or name.endswith(_AWS_DOMAINS) or (name != "" and "." not in name)


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def is_local(name: str) -> bool:
    """Return whether a host name or address is one of this machine alone."""
    return (
        name == "localhost"
        or name.endswith(".localhost")
        or (_is_address(name) and ipaddress.ip_address(name).is_loopback)
    )


def _forbidden(text: str) -> Response:
    """Return a refusal that no page may read, with the members that SDKs and the control API's clients read."""
    headers = (("Content-Type", JSON_TYPE), ("x-amzn-ErrorType", "AccessDeniedException"))
    return Response(403, headers, json_bytes({"message": text, "error": text}) + b"\n")
