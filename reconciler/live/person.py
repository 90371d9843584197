"""Credentials that involve a person: a role that takes the code of an MFA device, and those of a sign-on (``aws sso login``).

Many targets may share one profile, and are read at the same time.
A code counts once and is typed by hand, so it is asked for once, and all sessions of the profile share what it opened.
What renews a sign-on counts once too, so one renews it, and the others find it renewed.
"""

from __future__ import annotations

import threading
import time
from typing import Any

from reconciler import terminal
from reconciler.live.credentials import Around, CredentialsUnavailable, NoCode, Wanted

_DIGITS = 6
_LAST_SECONDS = 5
_ASK_AGAIN_SECONDS = 30.0
"""How long a refused code is everybody's: a device shows the next one after that. A controller that runs on asks then."""

_TRUST_SECONDS = 300.0
"""How long after a renewal others may renew at the same time: botocore renews a sign-on a quarter of an hour before its end."""


def ask_as_we_do(chain: Any) -> None:
    """Let botocore's provider of roles ask for codes in our way: at a terminal that is there, while nothing else is drawn, and not for ever."""
    chain.get_provider("assume-role")._prompter = _code  # noqa: SLF001 - botocore has no other way


def use_to_the_end(credentials: Any) -> None:
    """Keep botocore from giving credentials up ten minutes before their end, because it cannot renew them."""
    credentials._advisory_refresh_timeout = credentials._mandatory_refresh_timeout = _LAST_SECONDS  # noqa: SLF001 - likewise


def _code(question: str) -> str:
    try:
        return terminal.ask_for_digits("".join(char for char in question if char.isprintable()), _DIGITS)
    except terminal.NobodyAnswers as error:
        raise NoCode(why=str(error)) from None


def asked_once(credentials: Any, profile: str, wanted: Wanted) -> Any:
    """Return the credentials that all sessions of a profile share: these, or those that an earlier session brought."""
    with _LOCK:
        found = _SHARED.get(profile)
        if found is None or found.is_spent():
            found = _SHARED[profile] = _AskedOnce(credentials, wanted)
        return found


class _AskedOnce(Around):
    """Credentials that ask a person. A failure is that of all who share them, those who come a moment later included: nobody is asked for each target."""

    def __init__(self, credentials: Any, wanted: Wanted) -> None:
        super().__init__(credentials)
        self._wanted = wanted
        self._turn = threading.Lock()
        self._failure: Exception | None = None
        self._failed_at = 0.0

    def get_frozen_credentials(self) -> Any:
        """Return credentials that are good now."""
        with self._turn:
            if self._failure is not None:
                raise CredentialsUnavailable(self._failure, self._wanted)
            try:
                return self._credentials.get_frozen_credentials()
            except CredentialsUnavailable as error:
                self._failure, self._failed_at = error.cause, time.monotonic()
                raise

    def is_spent(self) -> bool:
        """Whether it failed long enough ago to ask anew."""
        return self._failure is not None and time.monotonic() > self._failed_at + _ASK_AGAIN_SECONDS


class InTurn(Around):
    """Credentials of a sign-on: the first to renew goes alone."""

    def __init__(self, credentials: Any, session: str) -> None:
        super().__init__(credentials)
        self._session = session

    def get_frozen_credentials(self) -> Any:
        """Return credentials that are good now."""
        if self._in_peace():
            return self._credentials.get_frozen_credentials()
        with _LOCK:
            turn = _TURNS.setdefault(self._session, threading.Lock())
        with turn:
            if not self._in_peace():
                found = self._credentials.get_frozen_credentials()
                _RENEWED[self._session] = time.monotonic()
                return found
        return self._credentials.get_frozen_credentials()

    def _in_peace(self) -> bool:
        return (
            not self._credentials.refresh_needed()
            or time.monotonic() < _RENEWED.get(self._session, -_TRUST_SECONDS) + _TRUST_SECONDS
        )


_LOCK = threading.Lock()
_SHARED: dict[str, _AskedOnce] = {}
_TURNS: dict[str, threading.Lock] = {}
_RENEWED: dict[str, float] = {}
