"""What is asked of a forge, whichever it is, and how its refusals are said.

Comes in: a place (provider, repository, number, token) and text. Raised are our own errors alone, without a token in any of them.
"""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from typing import Protocol
from urllib.parse import urlsplit

from reconciler.errors import ForgeError, ForgeRefused, UsageError
from reconciler.publish.board import Board
from reconciler.publish.patience import Patience

_LONGEST_WORDS = 300


@dataclass(frozen=True, slots=True)
class Access:
    """How to reach a repository of a forge. ``author`` is the login that our texts carry, where the token cannot tell."""

    provider: str
    api_url: str
    repository: str
    token: str
    author: str = ""

    def __repr__(self) -> str:
        return f"Access({self.provider}, {self.api_url}, {self.repository})"


@dataclass(frozen=True, slots=True)
class Status:
    """What a commit shows beside its name: ``state`` is ``success`` or ``failure``; one status for each ``context``."""

    state: str
    context: str
    description: str
    url: str


class Forge(Protocol):
    """One repository of a forge."""

    def comments(self, number: int) -> Board:
        """Return the comments of a pull or merge request."""

    def issues(self) -> Board:
        """Return the open issues that carry our label."""

    def head_of(self, number: int) -> str:
        """Return the newest commit of a pull or merge request."""

    def request_of(self, commit: str) -> int | None:
        """Return the number of the pull or merge request that brought in a commit, if it is known."""

    def set_status(self, commit: str, status: Status) -> bool:
        """Set a status, unless it stands already; returns whether it was set."""


def open_forge(access: Access, patience: Patience | None = None) -> Forge:
    """Return the way to a repository. Raises ``UsageError`` when the client for that forge is not installed, or the address is not one to send a token to."""
    _must_be_safe(access.api_url)
    patience = patience or Patience()
    try:
        if access.provider == "github":
            from reconciler.publish.github import GitHub  # noqa: PLC0415 - its client is an extra, and loading it takes a while

            return GitHub(access, patience)
        from reconciler.publish.gitlab import GitLab  # noqa: PLC0415

        return GitLab(access, patience)
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] not in ("github", "gitlab"):
            raise
        raise UsageError(
            f'the client for {access.provider} is not installed; install it with: pip install "ivs-reconciler[{access.provider}]"'
        ) from None


def failure(access: Access, what: str, status: int, words: str) -> ForgeError:
    """Return a forge's refusal as our error: what was wanted, what the forge said, what to do."""
    said = _clean(words, access.token)
    name = {"github": "GitHub", "gitlab": "GitLab"}[access.provider]
    head = f"{name}: {what} in {access.repository}: "
    if status == 401:
        return ForgeError(
            f"{head}the token is not accepted ({said}); give one that is valid for {urlsplit(access.api_url).hostname}",
            status=status,
        )
    if status == 403:
        return ForgeRefused(
            f"{head}the token may not do that ({said}); a run for a fork never may, others need the permission to write",
            status=status,
        )
    if status == 404:
        return ForgeError(f"{head}not found, or the token may not see it; check repository and number", status=status)
    if status == 429:
        return ForgeError(
            f"{head}the forge asks to wait longer than is reasonable ({said}); repeat later", status=status
        )
    if status:
        return ForgeError(f"{head}refused with {status} ({said}); correct that, then repeat", status=status)
    return ForgeError(f"{head}no answer ({said}); check the address {access.api_url} and the network, then repeat")


def _clean(words: str, token: str) -> str:
    text = " ".join(word for word in words.split())
    text = "".join(char if char.isprintable() else "?" for char in text)
    if token:
        text = text.replace(token, "(token)")
    return text[:_LONGEST_WORDS] or "no reason given"


def _must_be_safe(url: str) -> None:
    parts = urlsplit(url)
    if parts.scheme == "https" and parts.hostname:
        return
    if parts.scheme != "http" or not parts.hostname or not _is_loopback(parts.hostname):
        raise UsageError(f"{url}: a token is sent over https only; write the address of the API as https://…")


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
