"""Posts a body to a webhook whose URL is a secret: it is never printed, and no redirect carries it elsewhere.

Comes in: a URL, a body, headers. Goes out: nothing, or ``PublishError``, which names neither the URL nor its host.
What was refused, or never left, is sent again a few times. What may have arrived is not: the caller decides that at its next turn.
"""

from __future__ import annotations

import hashlib
import hmac
import http.client
import ipaddress
import random
import re
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from urllib.parse import urlsplit

from reconciler import __version__
from reconciler.errors import PublishError

ATTEMPTS = 4
TIMEOUT_SECONDS = 15.0
_LONGEST_WAIT = 30.0
_WORD = re.compile(r"[a-z][a-z_]{1,60}")
_AGAIN = frozenset({408, 425, 429, 500, 502, 503, 504})

SIGNATURE = "X-Ivs-Reconciler-Signature-256"
IDENTITY = "X-Ivs-Reconciler-Id"


def post(
    url: str,
    body: bytes,
    *,
    identity: str,
    secret: str = "",
    sleep: Callable[[float], None] = time.sleep,
    draw: Callable[[], float] = random.random,
    timeout: float = TIMEOUT_SECONDS,
) -> None:
    """Post JSON. ``identity`` is the message's id, the same each time it is sent; with ``secret`` the body is signed. Raises ``PublishError``."""
    _check(url)
    headers = {"Content-Type": "application/json", "User-Agent": f"ivs-reconciler/{__version__}", IDENTITY: identity}
    if secret:
        headers[SIGNATURE] = "sha256=" + hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()
    for attempt in range(1, ATTEMPTS + 1):
        wait = _send(url, body, headers, timeout, last=attempt == ATTEMPTS)
        if wait is None:
            return
        sleep(wait or draw() * 2.0**attempt)


def _check(url: str) -> None:
    """Refuse a URL that would show the message, or its own secret, on the way. Raises ``PublishError``."""
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname or "", parts.port
    except ValueError:
        raise PublishError("its URL is not one; write https://host/path") from None
    if not host or not url.isascii() or not url.isprintable() or " " in url:
        raise PublishError("its URL is not one; write https://host/path")
    if parts.username is not None:
        raise PublishError("its URL holds a user name; put what is secret into the path or a signature")
    if parts.scheme != "https" and not (parts.scheme == "http" and _is_loopback(host)):
        raise PublishError("its URL does not begin with https://; plain http is taken for this machine only")


def _send(url: str, body: bytes, headers: Mapping[str, str], timeout: float, *, last: bool) -> float | None:
    """Send once; returns ``None`` when it was taken, else the seconds to wait before the next try, ``0`` where the receiver named none."""
    request = urllib.request.Request(url, data=body, headers=dict(headers), method="POST")  # noqa: S310 - the scheme was checked
    handlers: list[urllib.request.BaseHandler] = [_NoRedirect()]
    if _is_loopback(urlsplit(url).hostname or ""):
        handlers.append(urllib.request.ProxyHandler({}))
    try:
        with urllib.request.build_opener(*handlers).open(request, timeout=timeout) as answer:
            answer.read(1024)
            return None
    except urllib.error.HTTPError as error:
        with error:
            refusal = _refusal(error)
            wait = _retry_after(error.headers.get("Retry-After"))
        if last or error.code not in _AGAIN:
            raise PublishError(refusal) from None
        return wait
    except urllib.error.URLError as error:
        if last:
            raise PublishError(f"it cannot be reached ({_reason(error)})") from None
        return 0.0
    except (OSError, http.client.HTTPException):
        raise PublishError(
            "no answer came in time, so it may or may not have arrived; it is sent again, with the same id, the next time",
            ambiguous=True,
        ) from None


def _refusal(error: urllib.error.HTTPError) -> str:
    if 300 <= error.code < 400:
        return f"it answered {error.code}, a redirect, which is not followed; set the URL that it leads to"
    try:
        said = error.read(200).decode("utf-8", "replace").strip()
    except (OSError, http.client.HTTPException):
        said = ""
    # Slack explains itself in one word, such as channel_is_archived; other bodies may hold anything.
    words = [http.client.responses.get(error.code, ""), said if _WORD.fullmatch(said) else ""]
    return f"it answered {error.code}" + "".join(f", {word}" for word in words if word)


def _retry_after(text: str | None) -> float:
    return min(float(text), _LONGEST_WAIT) if text and text.isascii() and text.isdigit() else 0.0


def _reason(error: urllib.error.URLError) -> str:
    """Return why a connection failed, in the system's words, which hold no URL."""
    reason = error.reason
    if isinstance(reason, OSError) and reason.strerror:
        return reason.strerror.lower()
    return type(reason).__name__


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """Takes a redirect for the refusal that it is."""

    def redirect_request(self, *_: object, **__: object) -> None:
        """Follow nothing."""
