"""Detects the CI run: forge, repository, request, commits and token names, from the environment and GitHub's event file; and opens that forge.

Values that are not known stay empty, and command-line flags set them.
The variables are those that GitHub Actions and GitLab CI document.
The client libraries are extras and slow to import, so each is imported when its forge is opened.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from reconciler.errors import UsageError, imports_of
from reconciler.forge.client import Access, Forge, RetryBudget
from reconciler.network import is_loopback

GITHUB_API = "https://api.github.com"
GITLAB_API = "https://gitlab.com/api/v4"


@dataclass(frozen=True, slots=True)
class CiRun:
    """A CI run. ``head`` and ``base`` are the commits of the request, ``number`` its number; ``summary`` is the file of the job summary."""

    provider: str = ""
    api_url: str = ""
    repository: str = ""
    number: int | None = None
    head: str = ""
    base: str = ""
    run_url: str = ""
    summary: str = ""


TOKEN_NAMES: Mapping[str, tuple[str, ...]] = {"github": ("GITHUB_TOKEN", "GH_TOKEN"), "gitlab": ("GITLAB_TOKEN",)}
"""The variables of a token. A GitLab job's own token is not among them: it may not write notes."""


def detect_ci(env: Mapping[str, str]) -> CiRun:
    """Return what the environment says about the CI run; outside of CI, the summary file at most."""
    if env.get("GITHUB_ACTIONS") == "true":
        return _github(env)
    if env.get("GITLAB_CI") == "true":
        return _gitlab(env)
    return CiRun(summary=env.get("GITHUB_STEP_SUMMARY", ""))


def _github(env: Mapping[str, str]) -> CiRun:
    event = _event(env.get("GITHUB_EVENT_PATH", ""))
    request = _mapping(event, "pull_request")
    run = _mapping(event, "workflow_run")
    issue = _mapping(event, "issue")
    number: object = request.get("number")
    if number is None and "pull_request" in issue:
        number = issue.get("number")
    if number is None:
        number = _number_of_run(run, _mapping(event, "repository").get("id"))
    if number is None:
        number = _number_in_ref(env.get("GITHUB_REF", ""))
    # A comment's event has the newest commit of the default branch in GITHUB_SHA, and none of the request.
    of_request = bool(request or run or "pull_request" in issue)
    head = (
        _text(_mapping(request, "head"), "sha")
        or _text(run, "head_sha")
        or ("" if of_request else env.get("GITHUB_SHA", ""))
    )
    repository, server = env.get("GITHUB_REPOSITORY", ""), env.get("GITHUB_SERVER_URL", "")
    run_id = env.get("GITHUB_RUN_ID", "")
    return CiRun(
        provider="github",
        api_url=env.get("GITHUB_API_URL", "") or GITHUB_API,
        repository=repository,
        number=number if type(number) is int else None,
        head=head,
        base=_text(_mapping(request, "base"), "sha"),
        run_url=f"{server}/{repository}/actions/runs/{run_id}" if server and repository and run_id else "",
        summary=env.get("GITHUB_STEP_SUMMARY", ""),
    )


def _gitlab(env: Mapping[str, str]) -> CiRun:
    number = env.get("CI_MERGE_REQUEST_IID", "")
    if not number:
        # A pipeline of a branch lists the requests that are open for it: group/project!12,group/project!15.
        number = env.get("CI_OPEN_MERGE_REQUESTS", "").partition(",")[0].rpartition("!")[2]
    return CiRun(
        provider="gitlab",
        api_url=env.get("CI_API_V4_URL", "") or GITLAB_API,
        # A request from a fork runs in the fork's project, and its notes belong to the target project.
        repository=env.get("CI_MERGE_REQUEST_PROJECT_ID", "") or env.get("CI_PROJECT_ID", ""),
        number=_number(number),
        head=env.get("CI_MERGE_REQUEST_SOURCE_BRANCH_SHA", "") or env.get("CI_COMMIT_SHA", ""),
        base=env.get("CI_MERGE_REQUEST_TARGET_BRANCH_SHA", "") or env.get("CI_MERGE_REQUEST_DIFF_BASE_SHA", ""),
        run_url=env.get("CI_JOB_URL", ""),
    )


def _event(path: str) -> Mapping[str, object]:
    try:
        content = json.loads(Path(path).read_text(encoding="utf-8")) if path else {}
    except (OSError, ValueError, RecursionError):
        return {}
    return content if isinstance(content, dict) else {}


def _mapping(content: Mapping[str, object], key: str) -> Mapping[str, object]:
    part = content.get(key)
    return part if isinstance(part, dict) else {}


def _text(content: Mapping[str, object], key: str) -> str:
    value = content.get(key)
    return value if isinstance(value, str) else ""


def _number_of_run(run: Mapping[str, object], repository: object) -> object:
    """Return the number of the request of this repository that a run was for: GitHub also lists requests of forks to other repositories."""
    listed = run.get("pull_requests")
    for one in listed if isinstance(listed, list) else ():
        if isinstance(one, dict) and _mapping(_mapping(one, "base"), "repo").get("id") == repository is not None:
            return one.get("number")
    return None


def _number_in_ref(ref: str) -> int | None:
    """Return the number in ``refs/pull/12/merge``."""
    parts = ref.split("/")
    return _number(parts[2]) if parts[:2] == ["refs", "pull"] and len(parts) > 2 else None


def _number(text: str) -> int | None:
    return int(text) if text.isascii() and text.isdigit() else None


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
