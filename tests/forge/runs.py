"""The environments of runs in CI, as GitHub Actions and GitLab CI document them."""

from __future__ import annotations

import json
from pathlib import Path

from tests.forge.forge import HEAD, PROJECT, REPOSITORY, Forge

BASE = "b" * 40
_NONE = dict.fromkeys(
    (
        "GITHUB_ACTIONS",
        "GITLAB_CI",
        "GITHUB_TOKEN",
        "GH_TOKEN",
        "GITLAB_TOKEN",
        "GITHUB_STEP_SUMMARY",
        "GITHUB_EVENT_PATH",
        "GITHUB_REF",
    ),
    "",
)


def github(
    forge: Forge, folder: Path, *, token: str = "ghs_actions", head: str = HEAD, number: int = 12, event: object = None
) -> dict[str, str]:
    """Return the environment of a job for a pull request."""
    path = folder / "event.json"
    content = (
        {"pull_request": {"number": number, "head": {"sha": head}, "base": {"sha": BASE}}} if event is None else event
    )
    path.write_text(json.dumps(content), encoding="utf-8")
    return {
        **_NONE,
        "GITHUB_ACTIONS": "true",
        "GITHUB_API_URL": forge.url,
        "GITHUB_SERVER_URL": "https://github.com",
        "GITHUB_REPOSITORY": REPOSITORY,
        "GITHUB_EVENT_PATH": str(path),
        "GITHUB_SHA": "c" * 40,
        "GITHUB_RUN_ID": "99",
        "GITHUB_TOKEN": token,
        "GITHUB_STEP_SUMMARY": str(folder / "summary.md"),
    }


def gitlab(forge: Forge, *, token: str = "glpat_bot", head: str = HEAD, number: int = 12) -> dict[str, str]:
    """Return the environment of a job for a merge request."""
    return {
        **_NONE,
        "GITLAB_CI": "true",
        "CI_API_V4_URL": f"{forge.url}/api/v4",
        "CI_PROJECT_ID": "78",
        "CI_MERGE_REQUEST_PROJECT_ID": str(PROJECT),
        "CI_MERGE_REQUEST_IID": str(number),
        "CI_MERGE_REQUEST_SOURCE_BRANCH_SHA": head,
        "CI_MERGE_REQUEST_DIFF_BASE_SHA": BASE,
        "CI_COMMIT_SHA": "c" * 40,
        "CI_JOB_URL": "https://gitlab.example.com/acme/video/-/jobs/5",
        "GITLAB_TOKEN": token,
    }
