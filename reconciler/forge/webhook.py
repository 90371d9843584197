"""Posts a body to a webhook whose URL is a secret: it is never printed or logged, and no redirect carries it elsewhere.

A message that was refused, or that certainly did not arrive, is sent again a few times.
A message that may have arrived is not: the caller decides about it in its next run.
"""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
import logging
import random
import re
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from http.client import responses
from urllib.parse import unquote, urlsplit
from urllib.request import getproxies, proxy_bypass

import urllib3
from urllib3.exceptions import HTTPError

from reconciler import __version__
from reconciler.errors import PublishError

ATTEMPTS = 4
TIMEOUT_SECONDS = 15.0
_LONGEST_WAIT = 30.0
_WORD = re.compile(r"[a-z][a-z_]{1,60}")
_AGAIN = frozenset({408, 425, 429, 500, 502, 503, 504})

SIGNATURE = "X-Ivs-Reconciler-Signature-256"
IDENTITY = "X-Ivs-Reconciler-Id"

_POSTING = threading.local()
# urllib3 logs the path of every request, and here the path is the secret.
for _name in ("urllib3.connection", "urllib3.connectionpool"):
    logging.getLogger(_name).addFilter(lambda _record: not getattr(_POSTING, "now", False))


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
    """Post JSON; with ``secret`` the body is signed. ``timeout`` is in seconds, for connecting and for each read.

    ``identity`` is the message's id, the same each time it is sent.
    Raises ``PublishError``, which names neither the URL nor its host; ``ambiguous`` says that the message may have arrived.
    """
    _check(url)
    headers = {
        "Content-Type": "application/json",
        "Content-Length": str(len(body)),
        "User-Agent": f"ivs-reconciler/{__version__}",
        IDENTITY: identity,
    }
    if secret:
        headers[SIGNATURE] = "sha256=" + hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()
    _POSTING.now = True
    try:
        with _manager(url) as manager:
            for attempt in range(1, ATTEMPTS + 1):
                wait = _send(manager, url, body, headers, timeout, last=attempt == ATTEMPTS)
                if wait is None:
                    return
                sleep(wait or draw() * 2.0**attempt)
    finally:
        _POSTING.now = False


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


def _manager(url: str) -> urllib3.PoolManager:
    """Return a client that goes through the proxy of the environment, if it names one for this host."""
    parts = urlsplit(url)
    host = parts.hostname or ""
    proxy = None if _is_loopback(host) or proxy_bypass(host) else getproxies().get(parts.scheme)
    if not proxy:
        return urllib3.PoolManager()
    proxy = proxy if "://" in proxy else f"http://{proxy}"
    user = urlsplit(proxy).netloc.rpartition("@")[0]
    return urllib3.ProxyManager(
        proxy, proxy_headers=urllib3.make_headers(proxy_basic_auth=unquote(user)) if user else None
    )


def _send(
    manager: urllib3.PoolManager, url: str, body: bytes, headers: Mapping[str, str], timeout: float, *, last: bool
) -> float | None:
    """Send once; returns ``None`` if it was taken, else the seconds to wait before the next try, ``0`` if the receiver named none."""
    left = False

    def content() -> Iterator[bytes]:
        nonlocal left
        left = True
        yield body

    try:
        answer = manager.request(
            "POST",
            url,
            body=content(),
            headers=headers,
            timeout=timeout,
            retries=False,
            redirect=False,
            preload_content=False,
        )
    except HTTPError as error:
        if left:
            raise PublishError(
                "no answer came in time, so it may or may not have arrived; it is sent again, with the same id, the next time",
                ambiguous=True,
            ) from None
        if last:
            raise PublishError(f"it cannot be reached ({_reason(error)})") from None
        return 0.0
    try:
        if 200 <= answer.status < 300:
            return None
        if last or answer.status not in _AGAIN:
            raise PublishError(_refusal(answer))
        return _retry_after(answer.headers.get("Retry-After"))
    finally:
        answer.close()


def _refusal(answer: urllib3.BaseHTTPResponse) -> str:
    if 300 <= answer.status < 400:
        return f"it answered {answer.status}, a redirect, which is not followed; set the URL that it leads to"
    try:
        said = answer.read(200).decode("utf-8", "replace").strip()
    except HTTPError:
        said = ""
    # Slack explains itself in one word, such as channel_is_archived; other bodies may hold anything.
    words = [responses.get(answer.status, ""), said if _WORD.fullmatch(said) else ""]
    return f"it answered {answer.status}" + "".join(f", {word}" for word in words if word)


def _retry_after(text: str | None) -> float:
    return min(float(text), _LONGEST_WAIT) if text and text.isascii() and text.isdigit() else 0.0


def _reason(error: BaseException) -> str:
    """Return why a connection failed, in the system's words, which hold no URL."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, OSError) and cause.strerror:
            return cause.strerror.lower()
        cause = cause.__cause__ or cause.__context__
    return type(error).__name__


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")
