"""Signing in to the status pages with the control token: sessions, and a limit on wrong tokens.

A session is a random cookie that only this process knows, so that a restart signs everybody out, and so does another token.
"""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
import secrets
import threading
import time
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass

from reconciler.git.git import Secret

SESSION_SECONDS = 12 * 3600
WRONG_TOKENS = 10
WRONG_TOKENS_IN = 60
"""A client that sent this many wrong tokens in this many seconds has to wait."""

_SESSIONS = 100
_REMEMBERED = 10_000


def is_same(given: str, expected: str) -> bool:
    """Return whether two texts are equal, in a time that shows neither content nor length."""
    return hmac.compare_digest(_digest(given), _digest(expected))


def _digest(text: str) -> bytes:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()


class TooManyWrongTokens(Exception):
    """The client has to wait before it may try another token."""


@dataclass(frozen=True, slots=True)
class Session:
    """One signed-in browser. ``csrf`` is in every form that acts; ``token`` is the digest of the token it signed in with."""

    csrf: str
    token: bytes
    until: float


class SignIn:
    """Checks tokens and keeps the sessions. Thread-safe."""

    def __init__(self, token: Secret, *, now: Callable[[], float] = time.monotonic) -> None:
        self._token = token
        self._now = now
        self._lock = threading.Lock()
        self._wrong: deque[tuple[float, str]] = deque(maxlen=_REMEMBERED)
        self._sessions: dict[bytes, Session] = {}

    @property
    def is_enabled(self) -> bool:
        """Whether a token is set. Raises ``UsageError`` for a file that cannot be read."""
        return bool(self._token.read())

    def accepts(self, given: str, client: str) -> bool:
        """Return whether this is the token. Raises ``TooManyWrongTokens`` without comparing it."""
        expected, group, now = self._token.read(), _group(client), self._now()
        with self._lock:
            while self._wrong and self._wrong[0][0] <= now - WRONG_TOKENS_IN:
                self._wrong.popleft()
            if Counter(each for _, each in self._wrong)[group] >= WRONG_TOKENS:
                raise TooManyWrongTokens
            if is_same(given, expected) and expected:
                return True
            self._wrong.append((now, group))
            return False

    def open(self) -> str:
        """Return the cookie of a new session."""
        cookie, now = secrets.token_urlsafe(32), self._now()
        session = Session(secrets.token_urlsafe(32), _digest(self._token.read()), now + SESSION_SECONDS)
        with self._lock:
            self._sessions = {key: each for key, each in self._sessions.items() if each.until > now}
            while len(self._sessions) >= _SESSIONS:
                del self._sessions[next(iter(self._sessions))]
            self._sessions[_digest(cookie)] = session
        return cookie

    def session(self, cookie: str) -> Session | None:
        """Return the session of a cookie, or ``None`` if there is none any more."""
        with self._lock:
            found = self._sessions.get(_digest(cookie))
        token = self._token.read()
        is_valid = found and token and found.until > self._now() and hmac.compare_digest(found.token, _digest(token))
        return found if is_valid else None

    def close(self, cookie: str) -> None:
        """End a session."""
        with self._lock:
            self._sessions.pop(_digest(cookie), None)


def _group(client: str) -> str:
    """Return the clients that count as one: an IPv4 address, or the network of an IPv6 address, all of which one client can use."""
    try:
        address = ipaddress.ip_address(client)
    except ValueError:
        return client
    return client if address.version == 4 else str(ipaddress.ip_network((address.packed, 64), strict=False))
