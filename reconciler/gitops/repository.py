"""Ask git about the folder that a spec lives in. Read-only: no checkout, no index, no network."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

_TIMEOUT_SECONDS = 60


def head_commit(folder: Path) -> str | None:
    """Return the commit that is checked out in the folder, or ``None`` where there is no repository, no commit, or no git."""
    return commit_of(folder, "HEAD")


def commit_of(folder: Path, name: str) -> str | None:
    """Return the commit that a name stands for, or ``None``."""
    return asked(folder, "rev-parse", "--verify", "--quiet", "--end-of-options", name + "^{commit}")


def tree_of(folder: Path, name: str) -> str | None:
    """Return the tree of the commit that a name stands for, or ``None``: two commits with one tree hold the same files."""
    return asked(folder, "rev-parse", "--verify", "--quiet", "--end-of-options", name + "^{tree}")


def top_of(folder: Path) -> Path | None:
    """Return the top of the work tree that a folder is in, or ``None``."""
    top = asked(folder, "rev-parse", "--show-toplevel")
    return Path(top) if top else None


def work_tree_of(folder: Path) -> Path | None:
    """Return the top of the work tree that a folder is in, whether or not git is installed here."""
    return next((parent for parent in (folder, *folder.parents) if (parent / ".git").exists()), None)


def ignores(tree: Path, path: Path) -> bool:
    """Whether git ignores a path in a work tree. Where git cannot tell, it does not."""
    return asked(tree, "check-ignore", "--quiet", "--", str(path)) is not None


def holds(folder: Path, ancestor: str, commit: str) -> bool:
    """Whether a commit came from another one, or is it."""
    return asked(folder, "merge-base", "--is-ancestor", ancestor, commit) is not None


def asked(folder: Path, *words: str, bare: bool = False) -> str | None:
    """Return what git answers to a question, or ``None`` where it has no answer or is not there; ``bare`` keeps the answer as it came."""
    try:
        answer = subprocess.run(  # noqa: S603 - the words are ours; names that are not follow --end-of-options
            ["git", *words],  # noqa: S607 - git is found as the user's shell finds it
            cwd=folder,
            env=quiet_environment(),
            capture_output=True,
            timeout=_TIMEOUT_SECONDS,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    if answer.returncode:
        return None
    text = os.fsdecode(answer.stdout)
    return text if bare else text.strip()


def quiet_environment() -> dict[str, str]:
    """Return the environment for a git that asks nobody, fetches nothing, and takes no object for another."""
    return {
        **os.environ,
        "GIT_TERMINAL_PROMPT": "0",
        "GIT_NO_LAZY_FETCH": "1",
        "GIT_NO_REPLACE_OBJECTS": "1",
        "GIT_OPTIONAL_LOCKS": "0",
    }
