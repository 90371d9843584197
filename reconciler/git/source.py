"""Follows one branch: a bare, shallow mirror that is fetched when the branch has moved, and the files of one commit at a time.

Force pushes are followed like any other.
What was last followed is remembered in the mirror, so that a restart without the forge goes on from there; it is remembered of this repository and branch, and of no other.
A branch that vanished or a head that nobody listed has signed is an error and leaves the last good commit in place.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import tempfile
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from reconciler.git.git import Git, GitError, Remote, Trouble, last_words, shown

_NO_SUCH_REF = 2


@dataclass(frozen=True, slots=True)
class Commit:
    """The commit that is followed, as its author describes it; ``subject`` and ``author`` are anybody's text."""

    id: str
    subject: str = ""
    author: str = ""
    at: str = ""
    verified: bool = False

    @property
    def short(self) -> str:
        """The first letters of its id."""
        return self.id[:10]


class Source:
    """One branch of one repository, mirrored under a folder of the controller's. Not to be shared between threads."""

    def __init__(
        self,
        folder: Path,
        remote: Remote,
        path: str = "",
        *,
        timeout: float = 120.0,
        stop: threading.Event | None = None,
    ) -> None:
        self.remote = remote
        self.path = path.strip("/")
        self._mirror = folder / "mirror.git"
        self._scratch = folder / "tree"
        # A folder that was another repository's must not have its commit taken for one of ours.
        self._followed = f"refs/followed/{hashlib.sha256(f'{remote.url} {remote.branch}'.encode()).hexdigest()[:20]}"
        self._git = Git(self._mirror, remote, timeout=timeout, stop=stop)

    def open(self) -> Commit | None:
        """Make the mirror ready and return the commit last followed, if there is one that may still be."""
        self._scratch.parent.mkdir(parents=True, exist_ok=True)
        shutil.rmtree(self._scratch, ignore_errors=True)
        # A git that was killed leaves its locks; we hold the folder alone, so they are nobody's.
        for lock in self._mirror.rglob("*.lock"):
            lock.unlink(missing_ok=True)
        for attempt in (1, 2):
            self._mirror.mkdir(parents=True, exist_ok=True)
            try:
                self._git.ask("init", "--quiet", "--bare", "--template=", "--initial-branch=none", ".")
                done = self._git.run("rev-parse", "--verify", "--quiet", f"{self._followed}^{{commit}}")
                if done.returncode:
                    return None
                return self._described(done.stdout.strip())
            except GitError as error:
                if attempt == 2 or error.trouble is Trouble.UNVERIFIED:
                    return None
                # Damaged beyond use: it holds nothing that the forge has not.
                shutil.rmtree(self._mirror, ignore_errors=True)
        return None

    def fetch(self) -> Commit:
        """Return the branch's newest commit, fetched and verified. Raises ``GitError``; the commit followed before stays."""
        self._git.check()
        url, ref = self.remote.url, f"refs/heads/{self.remote.branch}"
        done = self._git.run("ls-remote", "--exit-code", "--", url, ref, network=True)
        if done.returncode == _NO_SUCH_REF:
            raise GitError(
                f"{shown(url)} has no branch {self.remote.branch!r} (any more); nothing is applied until it is there",
                Trouble.NO_BRANCH,
            )
        if done.returncode:
            raise GitError(
                f"{shown(url)} cannot be reached; check the address and the credentials (git says: {last_words(done.stderr)})"
            )
        head = done.stdout.split()[0]
        if not self._holds(head):
            self._git.ask(
                "fetch",
                "--quiet",
                "--depth=1",
                "--no-tags",
                "--no-write-fetch-head",
                "--",
                url,
                f"+{ref}:refs/fetched/head",
                network=True,
            )
            head = self._git.ask("rev-parse", "--verify", "refs/fetched/head^{commit}")
        return self._described(head)

    def follow(self, commit: Commit) -> None:
        """Remember a commit that turned out to be one to work with."""
        self._git.ask("update-ref", self._followed, commit.id)

    @contextlib.contextmanager
    def files(self, commit: Commit) -> Iterator[Path]:
        """Write the project's folder as of a commit, and take it away afterwards. Raises ``GitError`` where the commit has no such folder."""
        place = f"{commit.id}:{self.path}" if self.path else f"{commit.id}^{{tree}}"
        kind = self._git.run("cat-file", "-t", place)
        if kind.stdout.strip() != "tree":
            raise GitError(
                f"commit {commit.short} has no folder {self.path!r}; correct the path, or push the folder",
                Trouble.NO_PROJECT,
            )
        shutil.rmtree(self._scratch, ignore_errors=True)
        self._scratch.mkdir(parents=True)
        handle, index = tempfile.mkstemp(dir=self._mirror, prefix="index-")
        os.close(handle)
        Path(index).unlink()
        try:
            self._git.ask("read-tree", f"--index-output={index}", place, extra={"GIT_INDEX_FILE": index})
            self._git.ask(
                "checkout-index",
                "--all",
                "--quiet",
                f"--prefix={self._scratch}/",
                extra={"GIT_INDEX_FILE": index, "GIT_WORK_TREE": str(self._scratch)},
            )
            yield self._scratch
        finally:
            Path(index).unlink(missing_ok=True)
            shutil.rmtree(self._scratch, ignore_errors=True)

    def _holds(self, commit: str) -> bool:
        return self._git.run("cat-file", "-e", f"{commit}^{{tree}}").returncode == 0

    def _described(self, commit: str) -> Commit:
        """Return a commit with its words, once its signature was found good where one is asked for."""
        verified = False
        if self.remote.allowed_signers:
            done = self._git.run("verify-commit", "--raw", commit)
            if done.returncode:
                why = last_words(done.stderr) if done.stderr.strip() else "it carries no signature"
                raise GitError(
                    f"commit {commit[:10]} is not signed by a listed key ({why}); it is not followed",
                    Trouble.UNVERIFIED,
                )
            verified = True
        words = self._git.ask(
            "show", "--no-patch", "--no-show-signature", "--encoding=UTF-8", "--format=%s%x00%an%x00%cI", commit
        ).split("\0")
        subject, author, at = (*words, "", "", "")[:3]
        return Commit(commit, subject[:200], author[:100], at, verified)
