"""Problems of a spec where a forge shows them: beside the line, in the change that brings them.

Comes in: problems, and what the project's folder is called from the top of the repository. Goes out: workflow commands for GitHub Actions, or a code quality report for GitLab.
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


def workflow_commands(problems: Iterable[Problem], warnings: Iterable[str], folder: str) -> str:
    """Return workflow commands, a line each. ``folder`` is the project's, from the top of the repository, or empty."""
    return "".join((*(_error(problem, folder) for problem in problems), *(f"::warning::{_data(warning)}\n" for warning in warnings)))


def code_quality(problems: Iterable[Problem], folder: str) -> str:
    """Return a code quality report, as GitLab reads it from a job's artefacts."""
    return json.dumps([_finding(problem, folder) for problem in problems], indent=2, ensure_ascii=False) + "\n"


def _error(problem: Problem, folder: str) -> str:
    file, line, column = place_of(problem)
    place = [f"file={_property(_joined(folder, file))}"] + ([f"line={line}", f"col={column}"] if line else [])
    return f"::error {','.join(place)}::{_data(_words(problem))}\n"


def _finding(problem: Problem, folder: str) -> dict[str, object]:
    file, line, _ = place_of(problem)
    path, words = _joined(folder, file), _words(problem)
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


def _joined(folder: str, file: str) -> str:
    return f"{folder}/{file}" if folder else file


def _data(text: str) -> str:
    """Escape what would end a workflow command, and with it whatever a spec says that looks like another one."""
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    return _data(text).replace(":", "%3A").replace(",", "%2C")
