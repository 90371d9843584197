"""Follows the branch: fetches it, and reads its newest commit. Runs in the fetcher's thread, because it takes time."""

from __future__ import annotations

import traceback
from dataclasses import dataclass, replace
from pathlib import Path

from reconciler.controller.state import RepositoryState
from reconciler.git.git import GitError, Trouble
from reconciler.git.source import CheckedRevision, Commit, ProjectRules, Source, load_revision


@dataclass(frozen=True, slots=True)
class FetchResult:
    """The result of a fetch: a new revision, an error, or neither if the branch has not moved.

    ``resumed`` is from the mirror, ``first`` the first revision that the mirror follows.
    """

    revision: CheckedRevision | None
    trouble: GitError | None
    resumed: bool = False
    first: bool = False


class Follower:
    """Fetches the branch and reads its commits."""

    def __init__(
        self,
        source: Source,
        rules: ProjectRules,
        records: Path,
        *,
        allow_rewind: bool = False,
        allow_new_stack: bool = False,
    ) -> None:
        self._source = source
        self._rules = rules
        self._records = records
        self._is_open = False
        self._allow_rewind = allow_rewind
        self._allow_new_stack = allow_new_stack

    def fetch(self, current: CheckedRevision | None, stack: str = "") -> list[FetchResult]:
        """Fetch the branch and return the result. The first time, it comes after the commit followed before the restart.

        ``stack`` is the stack that is followed: a commit of another one is not, because everything would be created a second time.
        """
        results: list[FetchResult] = []
        if not self._is_open:
            self._is_open = True
            results += self._resume(stack)
            current = results[0].revision if results else None
        try:
            commit = self._source.fetch()
            # For the first commit that the forge answers with: an option that stays set must not allow the next rewind.
            allow_rewind, self._allow_rewind = self._allow_rewind, False
            allow_new_stack, self._allow_new_stack = self._allow_new_stack, False
            revision, is_first = None, self._source.followed_id() is None
            if current is None or commit.id != current.commit.id:
                if not allow_rewind:
                    self._source.check_descends(commit)
                revision = self._read(commit)
                if stack and not allow_new_stack:
                    _check_stack(revision, stack)
                self._source.follow(commit)
            results.append(FetchResult(revision, None, first=is_first))
        except GitError as error:
            results.append(FetchResult(None, error))
        return results

    def _resume(self, stack: str) -> list[FetchResult]:
        commit = self._source.open()
        if commit is None:
            return []
        try:
            revision = self._read(commit)
            if stack:
                _check_stack(revision, stack)
            return [FetchResult(revision, None, resumed=True)]
        except GitError:
            return []  # the fetch that follows reports it

    def _read(self, commit: Commit) -> CheckedRevision:
        with self._source.files(commit) as folder:
            return load_revision(
                folder,
                commit,
                self._rules,
                records=self._records,
                path=self._source.path,
                missing=self._source.missing(commit, folder),
            )


def _check_stack(revision: CheckedRevision, stack: str) -> None:
    found = revision.project.stack
    if found != stack:
        raise GitError(
            f"commit {revision.commit.short} renames the stack from {stack} to {found}, which would leave every resource of {stack} "
            "behind and create all of them again; it is not followed. Revert it, or restart with --allow-new-stack",
            Trouble.NEW_STACK,
        )


def repository_after(
    before: RepositoryState, fetched: FetchResult, revision: CheckedRevision | None, now: float
) -> RepositoryState:
    """Return the state of the branch after a fetch. ``revision`` is the one in use from now on."""
    state = replace(before, commit=revision.commit if revision else None, tried_at=now)
    if fetched.trouble is None:
        return replace(state, fetched_at=now, failures=0, trouble=None, message="")
    is_reached = fetched.trouble.trouble is not Trouble.UNREACHABLE and revision is not None
    return replace(
        state,
        fetched_at=now if is_reached else state.fetched_at,
        failures=state.failures + 1,
        trouble=fetched.trouble.trouble,
        message=str(fetched.trouble),
    )


def internal_error(error: BaseException) -> str:
    """Return a message for an unexpected exception: its type and place, without its text, which may contain anything."""
    frames = traceback.extract_tb(error.__traceback__)
    place = f" at {Path(frames[-1].filename).name}:{frames[-1].lineno}" if frames else ""
    return f"internal error ({type(error).__name__}{place}); please report it"
