"""Opens a forge by its name. The clients are extras, and slow to import, so each is imported when it is opened."""

from __future__ import annotations

import ipaddress
from urllib.parse import urlsplit

from reconciler.errors import UsageError
from reconciler.forge.client import Access, Forge, Patience


def open_forge(access: Access, patience: Patience | None = None) -> Forge:
    """Return the client of a repository's forge.

    Raises ``UsageError`` if that client is not installed, or if the API's address is not one to send a token to.
    """
    _must_be_safe(access.api_url)
    patience = patience or Patience()
    try:
        if access.provider == "github":
            from reconciler.forge.github import GitHub  # noqa: PLC0415 - its client is an extra, and loading it takes a while

            return GitHub(access, patience)
        from reconciler.forge.gitlab import GitLab  # noqa: PLC0415

        return GitLab(access, patience)
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] not in ("github", "gitlab"):
            raise
        raise UsageError(
            f'the client for {access.provider} is not installed; install it with: pip install "ivs-reconciler[{access.provider}]"'
        ) from None


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
