"""Ask git about the folder that a spec lives in. Read-only: no checkout, no index, no network."""

from __future__ import annotations

import subprocess
from pathlib import Path

_TIMEOUT_SECONDS = 10


def head_commit(folder: Path) -> str | None:
    """Return the commit that is checked out in the folder, or ``None`` where there is no repository, no commit, or no git."""
    try:
        answer = subprocess.run(
            ["git", "rev-parse", "--verify", "--quiet", "HEAD"],  # noqa: S607 - git is found as the user's shell finds it
            cwd=folder,
            capture_output=True,
            text=True,
            timeout=_TIMEOUT_SECONDS,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    commit = answer.stdout.strip()
    return commit if answer.returncode == 0 and commit else None
