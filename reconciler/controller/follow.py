"""The part of following a branch that takes time: asking the forge, and reading a commit when it is another one. Runs in the fetcher's thread."""

from __future__ import annotations

import traceback
from dataclasses import dataclass, replace
from pathlib import Path

from reconciler.controller.state import RepositoryState
from reconciler.git.git import GitError, Trouble
from reconciler.git.source import CheckedRevision, Commit, Source, load_revision


@dataclass(frozen=True, slots=True)
class Fetched:
    """What a fetch brought: a new revision, or trouble, or neither when nothing has moved. ``resumed`` came from the mirror, not from the forge."""

    revision: CheckedRevision | None
    trouble: GitError | None
    resumed: bool = False


class Follower:
    """Asks the forge about the branch, and reads commits."""

    def __init__(self, source: Source, config: str | None, records: Path) -> None:
        self._source = source
        self._config = config
        self._records = records
        self._opened = False

    def fetch(self, current: CheckedRevision | None) -> list[Fetched]:
        """Ask about the branch and return what came of it; the first time after what was followed before the restart."""
        found: list[Fetched] = []
        if not self._opened:
            self._opened = True
            found += self._resumed()
            current = found[0].revision if found else None
        try:
            commit = self._source.fetch()
            revision = None
            if current is None or commit.id != current.commit.id:
                revision = self._read(commit)
                self._source.follow(commit)
            found.append(Fetched(revision, None))
        except GitError as error:
            found.append(Fetched(None, error))
        return found

    def _resumed(self) -> list[Fetched]:
        known = self._source.open()
        if known is None:
            return []
        try:
            return [Fetched(self._read(known), None, resumed=True)]
        except GitError:
            return []  # The fetch that follows meets the same, and says it.

    def _read(self, commit: Commit) -> CheckedRevision:
        with self._source.files(commit) as folder:
            return load_revision(folder, commit, config=self._config, records=self._records, path=self._source.path)


def repository_after(
    before: RepositoryState, fetched: Fetched, revision: CheckedRevision | None, now: float
) -> RepositoryState:
    """Return what is known of the branch after an attempt to fetch. ``revision`` is what is worked with from now on."""
    state = replace(before, commit=revision.commit if revision else None, tried_at=now)
    if fetched.trouble is None:
        return replace(state, fetched_at=now, failures=0, trouble=None, message="")
    reached = fetched.trouble.trouble is not Trouble.UNREACHABLE and revision is not None
    return replace(
        state,
        fetched_at=now if reached else state.fetched_at,
        failures=state.failures + 1,
        trouble=fetched.trouble.trouble,
        message=str(fetched.trouble),
    )


def fault_of(error: BaseException) -> str:
    """Return where a fault of this program was, without its words, which may hold anything."""
    frames = traceback.extract_tb(error.__traceback__)
    place = f" at {Path(frames[-1].filename).name}:{frames[-1].lineno}" if frames else ""
    return f"a fault in this program ({type(error).__name__}{place}); please report it"
