"""Opens a forge by name. The client libraries are extras and slow to import, so each is imported when it is opened."""

from __future__ import annotations

from urllib.parse import urlsplit

from reconciler.errors import UsageError
from reconciler.extras import imports_of
from reconciler.forge.client import Access, Forge, RetryBudget
from reconciler.network import is_loopback


def open_forge(access: Access, budget: RetryBudget | None = None) -> Forge:
    """Return a repository's forge.

    Raises ``UsageError`` if its client library is not installed or broken, or if the API URL is not safe to send a token to.
    """
    _require_safe(access.api_url)
    budget = budget or RetryBudget()
    with imports_of(f"comment with {access.provider}", access.provider):
        if access.provider == "github":
            from reconciler.forge.github import GitHub  # noqa: PLC0415 - an extra, and slow to import
        else:
            from reconciler.forge.gitlab import GitLab  # noqa: PLC0415
    return GitHub(access, budget) if access.provider == "github" else GitLab(access, budget)


def _require_safe(url: str) -> None:
    parts = urlsplit(url)
    if parts.scheme == "https" and parts.hostname:
        return
    if parts.scheme != "http" or not parts.hostname or not is_loopback(parts.hostname):
        raise UsageError(f"{url}: tokens are sent over https only; use an https API URL")
