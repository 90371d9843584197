"""Posts JSON to a webhook whose URL is a secret: it is never printed or logged, and redirects are not followed.

A message that was rejected, or certainly did not arrive, is retried a few times. One that may have arrived is not:
the caller decides in its next run.
"""

from __future__ import annotations

import hashlib
import hmac
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
from reconciler.network import ca_bundle, is_loopback, why_unreachable

ATTEMPTS = 4
TIMEOUT_SECONDS = 15.0
_MAX_WAIT_SECONDS = 30.0
_SLACK_ERROR = re.compile(r"[a-z][a-z_]{1,60}")
_RETRIED_STATUSES = frozenset({408, 425, 429, 500, 502, 503, 504})

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
    """Post JSON, signed if there is a ``secret``. ``timeout`` is in seconds, for connecting and for each read.

    ``identity`` is the message's id, the same in each attempt.
    Raises ``PublishError``, which names neither the URL nor its host; it is ``ambiguous`` if the message may have arrived.
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
    """Raise ``PublishError`` for a URL that would expose the message or itself in transit."""
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname or "", parts.port
    except ValueError:
        raise PublishError("invalid URL; use https://host/path") from None
    if not host or not url.isascii() or not url.isprintable() or " " in url:
        raise PublishError("invalid URL; use https://host/path")
    if parts.username is not None:
        raise PublishError("the URL contains a user name; use a secret path or a signature")
    if parts.scheme != "https" and not (parts.scheme == "http" and is_loopback(host)):
        raise PublishError("the URL must begin with https://; http is allowed for localhost only")


def _manager(url: str) -> urllib3.PoolManager:
    """Return a client that uses the environment's proxy for this host, if there is one."""
    parts = urlsplit(url)
    host = parts.hostname or ""
    proxy = None if is_loopback(host) or proxy_bypass(host) else getproxies().get(parts.scheme)
    if not proxy:
        return urllib3.PoolManager(ca_certs=ca_bundle())
    proxy = proxy if "://" in proxy else f"http://{proxy}"
    user = urlsplit(proxy).netloc.rpartition("@")[0]
    return urllib3.ProxyManager(
        proxy,
        proxy_headers=urllib3.make_headers(proxy_basic_auth=unquote(user)) if user else None,
        ca_certs=ca_bundle(),
    )


def _send(
    manager: urllib3.PoolManager, url: str, body: bytes, headers: Mapping[str, str], timeout: float, *, last: bool
) -> float | None:
    """Send once and return ``None``, or the seconds to wait before the next attempt; ``0`` if the receiver names none."""
    sent = False

    def content() -> Iterator[bytes]:
        nonlocal sent
        sent = True
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
        if sent:
            raise PublishError(
                "no answer in time; it may have arrived, and is sent again with the same id in the next run",
                ambiguous=True,
            ) from None
        if last:
            raise PublishError(f"cannot connect ({why_unreachable(error)})") from None
        return 0.0
    try:
        if 200 <= answer.status < 300:
            return None
        if last or answer.status not in _RETRIED_STATUSES:
            raise PublishError(_rejection(answer))
        return _retry_after(answer.headers.get("Retry-After"))
    finally:
        answer.close()


def _rejection(answer: urllib3.BaseHTTPResponse) -> str:
    if 300 <= answer.status < 400:
        return f"HTTP {answer.status}: redirects are not followed; use the final URL"
    try:
        body = answer.read(200).decode("utf-8", "replace").strip()
    except HTTPError:
        body = ""
    # Slack answers with one word, such as channel_is_archived; other bodies may contain anything.
    reasons = [responses.get(answer.status, ""), body if _SLACK_ERROR.fullmatch(body) else ""]
    return f"HTTP {answer.status}" + "".join(f", {reason}" for reason in reasons if reason)


def _retry_after(text: str | None) -> float:
    return min(float(text), _MAX_WAIT_SECONDS) if text and text.isascii() and text.isdigit() else 0.0
