"""Opens a forge by name. The client libraries are extras and slow to import, so each is imported when it is opened."""

from __future__ import annotations

from collections.abc import Mapping
from urllib.parse import urlsplit

from reconciler.errors import UsageError
from reconciler.extras import imports_of
from reconciler.forge.ci import GITHUB_API, GITLAB_API, TOKEN_NAMES, CiRun
from reconciler.forge.client import Access, Forge, RetryBudget
from reconciler.network import is_loopback


def access_in(
    ci: CiRun,
    env: Mapping[str, str],
    *,
    provider: str = "",
    repository: str = "",
    api_url: str = "",
    token_env: str = "",
    author: str = "",
) -> Access:
    """Return how to reach the repository of a CI run; what is given takes the place of what was detected.

    Raises ``UsageError`` without a forge, a repository or a token.
    """
    provider, repository = provider or ci.provider, repository or ci.repository
    if not provider or not repository:
        raise UsageError("no forge detected; use --provider github or gitlab, and --repository owner/name")
    names = (token_env,) if token_env else TOKEN_NAMES[provider]
    token = next((found for name in names if (found := env.get(name, "").strip())), "")
    if not token:
        raise UsageError(f"no token for {provider}: set {' or '.join(names)} in the environment")
    if not (token.isascii() and token.isprintable()) or " " in token:
        raise UsageError(
            f"the token for {provider} ({' or '.join(names)}) contains a line end, a space or another character that it cannot have; set it again without that character"
        )
    default = ci.api_url if provider == ci.provider else {"github": GITHUB_API, "gitlab": GITLAB_API}[provider]
    return Access(provider, api_url or default, repository, token, author)


def open_forge(access: Access, budget: RetryBudget | None = None, *, user: str = "comment") -> Forge:
    """Return a repository's forge, which ``user`` needs.

    Raises ``UsageError`` if its client library is not installed or broken, or if the API URL is not safe to send a token to.
    """
    _require_safe(access.api_url)
    budget = budget or RetryBudget()
    with imports_of(f"{user} with {access.provider}", access.provider):
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
