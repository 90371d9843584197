"""Problems of a spec where a forge shows them: beside the line, in the change that brings them.

Comes in: problems, whose files are named from the top of the repository. Goes out: workflow commands for GitHub Actions, or a code quality report for GitLab.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable

from reconciler.errors import Problem


def place_of(problem: Problem) -> tuple[str, int, int]:
    """Return file, line and column; line and column are 0 where they are not known."""
    parts = problem.where.rsplit(":", 2)
    if len(parts) == 3 and parts[1].isdigit() and parts[2].isdigit():
        return parts[0], int(parts[1]), int(parts[2])
    return problem.where, 0, 0


def workflow_commands(problems: Iterable[Problem], warnings: Iterable[str]) -> str:
    """Return workflow commands, a line each."""
    return "".join(
        (*(_error(problem) for problem in problems), *(f"::warning::{_data(warning)}\n" for warning in warnings))
    )


def code_quality(problems: Iterable[Problem]) -> str:
    """Return a code quality report, as GitLab reads it from a job's artefacts."""
    return json.dumps([_finding(problem) for problem in problems], indent=2, ensure_ascii=False) + "\n"


def _error(problem: Problem) -> str:
    file, line, column = place_of(problem)
    place = [f"file={_property(file)}"] + ([f"line={line}", f"col={column}"] if line else [])
    return f"::error {','.join(place)}::{_data(_words(problem))}\n"


def _finding(problem: Problem) -> dict[str, object]:
    path, line, _ = place_of(problem)
    words = _words(problem)
    # GitLab tells findings that are new from those that were there by this; a line number would make all of them new.
    digest = hashlib.sha256(f"{path}\0{problem.address}\0{problem.what}".encode()).hexdigest()
    return {
        "description": words,
        "check_name": "ivs-reconciler validate",
        "fingerprint": digest,
        "severity": "blocker",
        "location": {"path": path, "lines": {"begin": line or 1}},
    }


def _words(problem: Problem) -> str:
    return str(problem._replace(where=""))


def _data(text: str) -> str:
    """Escape what would end a workflow command, and with it whatever a spec says that looks like another one."""
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    return _data(text).replace(":", "%3A").replace(",", "%2C")
