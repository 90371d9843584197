"""One branch of a remote repository, followed: a bare, shallow mirror, and the project of one commit at a time.

If the branch is gone, or its head is not signed by an allowed signer or does not descend from the followed commit,
that is an error, and the last good commit stays: an older commit, once signed, must not be applied a second time.
The followed commit is recorded in the mirror, by repository and branch, so that a restart needs no forge.
A commit is read at once and whole; a broken file stops only the targets whose specs it belongs to.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import shutil
import tempfile
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from reconciler.errors import Problem, SpecError, os_reason
from reconciler.files import read_private, replace_file
from reconciler.git.clone import LINK, LIST_TREE, SUBMODULE, TreeEntry, through_links, tree_entries
from reconciler.git.git import Git, GitError, Remote, Trouble, last_lines
from reconciler.model.resource import DesiredState
from reconciler.model.target import NO_LIMITS, FileLock, Guardrails, OnLive, Project, Target
from reconciler.spec.desired import load_desired
from reconciler.spec.files import MAX_FILE_SIZE, Missing
from reconciler.spec.project import DEFAULT_NAME, load_project, prefix_of, shared_pin_problems, target_pin_problems
from reconciler.terminal import mask_urls, short_commit

_NO_SUCH_REF = 2
_NO_SUCH_NAME = 1
_DEPTHS = (50, 1_000, 10_000)
"""How many commits of history are fetched, one after the other, to find the followed commit among the ancestors of the head."""


_MAX_FILES = 100_000
_MAX_BYTES = 512 << 20


@dataclass(frozen=True, slots=True)
class Commit:
    """A commit of the branch. ``subject`` and ``author`` are untrusted text; ``at`` is when it was committed, as ISO 8601."""

    id: str
    subject: str = ""
    author: str = ""
    at: str = ""
    verified: bool = False

    @property
    def short(self) -> str:
        """The abbreviated id."""
        return short_commit(self.id)


class Source:
    """One branch of one repository, mirrored under ``folder``; ``path`` is the project's directory in it.

    Its methods raise ``GitError``. Not thread-safe, but for ``holds``, ``files`` and ``missing``, which read.
    """

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
        # A mirror that was made for another repository or branch must not provide the commit.
        key = hashlib.sha256(f"{remote.url} {remote.branch}".encode()).hexdigest()[:20]
        self._followed = f"refs/followed/{key}"
        # Beside the mirror, which is cloned again if it is damaged: without it, any commit would be the first.
        self._note = folder / f"followed-{key}"
        self._git = Git(self._mirror, remote, timeout=timeout, stop=stop)

    def open(self) -> Commit | None:
        """Prepare the mirror and return the commit followed last, or ``None`` if there is none that is still allowed."""
        self._scratch.parent.mkdir(parents=True, exist_ok=True)
        shutil.rmtree(self._scratch, ignore_errors=True)
        # A killed git leaves its locks. Only we use the directory, so no process holds them.
        for lock in self._mirror.rglob("*.lock"):
            lock.unlink(missing_ok=True)
        for attempt in (1, 2):
            self._mirror.mkdir(parents=True, exist_ok=True)
            try:
                self._git.output("init", "--quiet", "--bare", "--template=", "--initial-branch=none", ".")
                done = self._git.run("rev-parse", "--verify", "--quiet", f"{self._followed}^{{commit}}")
                if done.returncode == _NO_SUCH_NAME:
                    return None
                if done.returncode:
                    raise GitError(f"git rev-parse failed: {last_lines(done.stderr)}")
                return self._commit(done.stdout.strip())
            except GitError as error:
                if attempt == 2 or error.trouble is Trouble.UNVERIFIED:
                    return None
                # Damaged. It holds nothing that the forge lacks.
                shutil.rmtree(self._mirror, ignore_errors=True)
        return None

    def fetch(self) -> Commit:
        """Fetch and verify the newest commit of the branch, and return it. Raises ``GitError``."""
        self._git.check()
        url, ref = self.remote.url, f"refs/heads/{self.remote.branch}"
        done = self._git.run("ls-remote", "--exit-code", "--", url, ref, network=True)
        if done.returncode == _NO_SUCH_REF:
            raise GitError(
                f"{mask_urls(url)} has no branch {self.remote.branch!r}; nothing is applied until it exists",
                Trouble.NO_BRANCH,
            )
        if done.returncode:
            check = "check the URL and the credentials"
            if re.search(r"returned error: 30\d", done.stderr):
                # As GitLab answers to an address without ".git"; the token of this host must not go to another.
                check = "it answers with a redirect, which is not followed; use the final URL (GitLab's ends in .git)"
            elif "CONNECT tunnel failed" in done.stderr:
                check = "the proxy refused the connection; check HTTPS_PROXY and NO_PROXY"
            elif "does not appear to be a git repository" in done.stderr:
                check = "it is not a git repository; check the URL or the directory"
            raise GitError(f"cannot reach {mask_urls(url)}; {check} (git: {last_lines(done.stderr)})")
        head = done.stdout.split()[0]
        if not self.holds(head):
            # The first time as well: drift asks what the commit of the last apply had.
            self._fetch_history(_DEPTHS[0])
            head = self._git.output("rev-parse", "--verify", "refs/fetched/head^{commit}")
        commit = self._commit(head)
        # A commit that was followed while its key was valid stays, also after the key has expired.
        if self.remote.allowed_signers and head != self.followed_id():
            self._git.check_signed_now(head)
        return commit

    def check_descends(self, commit: Commit) -> None:
        """Raise ``GitError`` if a commit neither is the followed one nor descends from it. Fetches the history that this takes."""
        followed = self.followed_id()
        if followed is None or followed == commit.id:
            return
        for depth in (0, *_DEPTHS):
            if depth:
                self._fetch_history(depth)
            if self._is_ancestor(followed, commit.id):
                return
            if self._is_ancestor(commit.id, followed) or self._is_whole(commit.id):
                break
        raise GitError(
            f"branch {self.remote.branch!r} was moved back or rewritten: its commit {commit.short} does not descend from "
            f"the followed commit {short_commit(followed)}; it is not followed. Push a commit on top of {short_commit(followed)}, "
            "or restart with --allow-rewind",
            Trouble.REWOUND,
        )

    def _fetch_history(self, depth: int) -> None:
        """Fetch the branch, and that many of its newest commits."""
        self._git.output(
            "fetch",
            "--quiet",
            f"--depth={depth}",
            "--no-tags",
            "--no-write-fetch-head",
            "--",
            self.remote.url,
            f"+refs/heads/{self.remote.branch}:refs/fetched/head",
            network=True,
        )

    def followed_id(self) -> str | None:
        """Return the id of the commit followed last, whether or not it is still allowed, or ``None`` without one."""
        done = self._git.run("rev-parse", "--verify", "--quiet", f"{self._followed}^{{commit}}")
        if done.returncode == 0:
            return done.stdout.strip()
        try:
            return read_private(self._note).strip() or None
        except FileNotFoundError:
            return None
        except OSError as error:
            raise GitError(f"cannot read {self._note} ({os_reason(error)})") from None

    def _is_ancestor(self, ancestor: str, commit: str) -> bool:
        return self._git.run("merge-base", "--is-ancestor", ancestor, commit).returncode == 0

    def _is_whole(self, commit: str) -> bool:
        """Return whether the mirror has the whole history of a commit."""
        try:
            cut = set((self._mirror / "shallow").read_text(encoding="ascii").split())
        except FileNotFoundError:
            return True
        return cut.isdisjoint(self._git.output("rev-list", commit).split())

    def follow(self, commit: Commit) -> None:
        """Record a commit as the one that is followed."""
        try:
            replace_file(self._note, f"{commit.id}\n")
        except OSError as error:
            raise GitError(f"cannot write {self._note} ({os_reason(error)})") from None
        self._git.output("update-ref", self._followed, commit.id)

    @contextlib.contextmanager
    def files(self, commit: Commit) -> Iterator[Path]:
        """Write the project's directory as of a commit, yield it, and remove it. Raises ``GitError`` if the commit has no such directory."""
        place = self._place(commit)
        kind = self._git.run("cat-file", "-t", place)
        if kind.stdout.strip() != "tree":
            raise GitError(f"commit {commit.short} has no directory {self.path!r}; check the path", Trouble.NO_PROJECT)
        paths = [entry.path for entry in self._entries(commit) if entry.size <= MAX_FILE_SIZE]
        self._scratch.mkdir(parents=True, exist_ok=True)
        folder = Path(tempfile.mkdtemp(dir=self._scratch))
        handle, index = tempfile.mkstemp(dir=self._mirror, prefix="index-")
        os.close(handle)
        Path(index).unlink()
        try:
            self._git.output("read-tree", f"--index-output={index}", place, extra={"GIT_INDEX_FILE": index})
            self._git.output(
                "checkout-index",
                "--quiet",
                f"--prefix={folder}/",
                "-z",
                "--stdin",
                extra={"GIT_INDEX_FILE": index, "GIT_WORK_TREE": str(folder)},
                stdin="".join(f"{path}\0" for path in paths).encode("utf-8", "surrogateescape"),
            )
            yield folder
        finally:
            Path(index).unlink(missing_ok=True)
            shutil.rmtree(folder, ignore_errors=True)

    def missing(self, commit: Commit, folder: Path) -> tuple[Missing, ...]:
        """Return what a commit has and ``files`` does not write to ``folder``: submodules, and files that are too large for a spec."""
        entries = self._entries(commit)
        missing = [
            Missing(
                entry.path,
                "is a submodule, and the controller does not fetch submodules",
                "move its specs into the repository, or exclude it from the patterns of specs",
                is_folder=True,
            )
            for entry in entries
            if entry.mode == SUBMODULE
        ]
        missing += [
            Missing(
                entry.path,
                f"has {entry.size >> 20:,} MiB, more than the {MAX_FILE_SIZE >> 20} MiB of a spec file",
                "split it",
            )
            for entry in entries
            if entry.size > MAX_FILE_SIZE
        ]
        return (*missing, *through_links(missing, [entry.path for entry in entries if entry.mode == LINK], folder))

    def _entries(self, commit: Commit) -> list[TreeEntry]:
        """Return the files of the project's directory. Raises ``GitError`` for more than can be written: a small push can hold a huge tree."""
        listing = self._git.output(*LIST_TREE, self._place(commit), errors="surrogateescape")
        entries = list(tree_entries(listing))
        total = sum(entry.size for entry in entries if entry.size <= MAX_FILE_SIZE)
        if len(entries) > _MAX_FILES or total > _MAX_BYTES:
            raise GitError(
                f"commit {commit.short} has {len(entries):,} files of {total >> 20:,} MiB, more than {_MAX_FILES:,} or {_MAX_BYTES >> 20:,} MiB; "
                "name the directory of the project file with --path",
                Trouble.NO_PROJECT,
            )
        return entries

    def _place(self, commit: Commit) -> str:
        """Return git's name of the project's directory as of a commit."""
        return f"{commit.id}:{self.path}" if self.path else f"{commit.id}^{{tree}}"

    def holds(self, commit: str) -> bool:
        """Return whether the mirror has a commit and its files."""
        return self._git.run("cat-file", "-e", f"{commit}^{{tree}}").returncode == 0

    def _commit(self, commit: str) -> Commit:
        """Return a commit with its subject and author. Raises ``GitError`` if it needs a signature and has no valid one."""
        verified = False
        if self.remote.allowed_signers:
            done = self._git.run("verify-commit", "--raw", commit)
            if done.returncode:
                why = last_lines(done.stderr) if done.stderr.strip() else "no signature"
                raise GitError(
                    f"commit {short_commit(commit)} is not signed by an allowed signer ({why}); it is not followed",
                    Trouble.UNVERIFIED,
                )
            verified = True
        fields = self._git.output(
            "log", "-1", "--no-show-signature", "--encoding=UTF-8", "--format=%s%x00%an%x00%cI", commit
        ).split("\0")
        subject, author, at = (*fields, "", "", "")[:3]
        return Commit(commit, subject[:200], author[:100], at, verified)


@dataclass(frozen=True, slots=True)
class CheckedRevision:
    """A commit with its project, and for each target the desired state or its problems.

    ``project.root`` is the directory of the records of applies, not where the files were.
    """

    commit: Commit
    project: Project
    desired: Mapping[str, DesiredState]
    problems: Mapping[str, tuple[Problem, ...]]


@dataclass(frozen=True, slots=True)
class ProjectRules:
    """What the operator decides about the project file of every commit.

    ``config`` is its name. Its guardrails are at least as strict as ``floor``; its targets and receivers are those of ``pin``.
    Its state and lock files may be in ``allowed_paths``, outside the project.
    """

    config: str | None = None
    floor: Guardrails = NO_LIMITS
    pin: Project | None = None
    allowed_paths: tuple[str, ...] = ()


def load_revision(
    folder: Path, commit: Commit, rules: ProjectRules, *, records: Path, path: str = "", missing: Sequence[Missing] = ()
) -> CheckedRevision:
    """Read the project and every target's spec from a directory that holds the commit's files.

    ``path`` is its path in the repository, ``missing`` what the commit has and the directory lacks.
    State files of the sandbox and of locks, which are relative to the project file, are moved to ``records``: ``folder`` is temporary.
    Raises ``GitError`` if there is no valid project file.
    """
    project = project_in(folder, commit, rules, prefix_of(path, rules.config))
    shared = tuple(shared_pin_problems(project, rules.pin)) if rules.pin else ()
    if shared:
        raise GitError(f"commit {commit.short}: {SpecError(shared)}", Trouble.NO_PROJECT)
    desired: dict[str, DesiredState] = {}
    problems: dict[str, tuple[Problem, ...]] = {}
    for name, target in project.targets.items():
        try:
            if rules.pin and (not_pinned := tuple(target_pin_problems(project, target, rules.pin))):
                raise SpecError(not_pinned)
            desired[name] = load_desired(project, target, missing)
        except SpecError as error:
            problems[name] = error.problems
    # Without the directory, applies would not be recorded, and nothing would say so.
    records.mkdir(mode=0o700, parents=True, exist_ok=True)
    targets = {name: _with_lasting_files(target, folder, records) for name, target in project.targets.items()}
    # The schedule waits for a broadcast to end: a later reconciliation finds the channel offline, and no worker or lock is held meanwhile.
    guardrails = project.guardrails.stricter(rules.floor)._replace(on_live=OnLive.BLOCK)
    return CheckedRevision(
        commit,
        project._replace(
            path=Path(rules.config or DEFAULT_NAME).name, root=str(records), targets=targets, guardrails=guardrails
        ),
        desired,
        problems,
    )


def project_in(folder: Path, commit: Commit, rules: ProjectRules, prefix: str) -> Project:
    """Return the project of a directory that holds a commit's files, as it is there. Raises ``GitError`` if there is no valid project file."""
    config = rules.config
    file = folder / (config or DEFAULT_NAME)
    if not file.resolve().is_relative_to(folder.resolve()):
        raise GitError(
            f"commit {commit.short}: the project file is a symbolic link to outside the repository", Trouble.NO_PROJECT
        )
    if not file.is_file():
        raise GitError(
            f"commit {commit.short} has no project file {config or DEFAULT_NAME!r}; check the path", Trouble.NO_PROJECT
        )
    try:
        return load_project(folder, config, prefix=prefix, allowed_paths=rules.allowed_paths)
    except SpecError as error:
        raise GitError(f"commit {commit.short}: {error}", Trouble.NO_PROJECT) from None


def _with_lasting_files(target: Target, folder: Path, records: Path) -> Target:
    """Return the target with the files that are kept beside the project file moved to ``records``."""
    if target.sandbox is not None:
        target = target._replace(sandbox=_moved(target.sandbox, folder, records))
    if isinstance(target.lock, FileLock):
        target = target._replace(lock=FileLock(_moved(target.lock.path, folder, records)))
    return target


def _moved(path: str, folder: Path, records: Path) -> str:
    relative = os.path.relpath(path, folder)
    return path if relative.startswith("..") else str(records / relative)
