"""Asks git about the clone that a spec lives in: its commits and trees, what its work tree lacks, and whether a plan still fits them.

Read-only: no checkout, no index, no network.
A plan of a pull request is made from its head, or from the forge's trial merge, and applied there or after the merge.
It still fits if that very commit is checked out, or one with the same files on top of the same base.
A spec file that was not checked out (sparse checkout, skip-worktree, submodule) must not count as removed, because its resources would be deleted.
"""

from __future__ import annotations

import os
import subprocess
import tempfile
import threading
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from reconciler.errors import StalePlan, os_reason
from reconciler.spec.files import Missing
from reconciler.terminal import sanitize

if TYPE_CHECKING:
    from reconciler.plan.plan import Plan

_TIMEOUT_SECONDS = 60
_MAX_OUTPUT_BYTES = 64 << 20
"""Bytes of an answer; the list of 500,000 files is shorter."""
_MAX_ERROR_BYTES = 1 << 16


def head_commit(folder: Path) -> str | None:
    """Return the commit that is checked out in a directory, or ``None`` without a repository, a commit, or git."""
    return commit_of(folder, "HEAD")


def commit_of(folder: Path, name: str) -> str | None:
    """Return the commit that a revision name resolves to, or ``None``."""
    return git_output(folder, "rev-parse", "--verify", "--quiet", "--end-of-options", name + "^{commit}")


def tree_of(folder: Path, name: str) -> str | None:
    """Return the tree of a revision, or ``None``. Two commits with one tree hold the same files."""
    return git_output(folder, "rev-parse", "--verify", "--quiet", "--end-of-options", name + "^{tree}")


def top_of(folder: Path) -> Path | None:
    """Return the top of the work tree that a directory is in, or ``None``."""
    top = git_output(folder, "rev-parse", "--show-toplevel")
    return Path(top) if top else None


def work_tree_of(folder: Path) -> Path | None:
    """Return the top of the work tree that a directory is in, whether or not git is installed."""
    return next((parent for parent in (folder, *folder.parents) if (parent / ".git").exists()), None)


def is_ignored(tree: Path, path: Path) -> bool:
    """Return whether git ignores a path in a work tree; ``False`` if git cannot answer."""
    return git_output(tree, "check-ignore", "--quiet", "--", str(path)) is not None


def is_ancestor(folder: Path, ancestor: str, commit: str) -> bool:
    """Return whether ``ancestor`` is ``commit`` or one of its ancestors."""
    return git_output(folder, "merge-base", "--is-ancestor", ancestor, commit) is not None


def git_output(folder: Path, *args: str, strip: bool = True, max_bytes: int = _MAX_OUTPUT_BYTES) -> str | None:
    """Return the output of a git command, or ``None`` if it fails, is longer than ``max_bytes`` bytes, or git is not installed."""
    answer = _run(folder, args, max_bytes)
    if isinstance(answer, str) or answer.returncode:
        return None
    text = os.fsdecode(answer.stdout)
    return text.strip() if strip else text


def git_refusal(folder: Path, *args: str, max_bytes: int = _MAX_OUTPUT_BYTES) -> str:
    """Return why a git command fails: git's own words, and what to do where that is known; empty if it succeeds."""
    answer = _run(folder, args, max_bytes)
    if isinstance(answer, str):
        return answer
    if not answer.returncode:
        return ""
    lines = os.fsdecode(answer.stderr).strip().splitlines() or ["git said nothing"]
    words = lines[0].removeprefix("fatal: ")
    if "dubious ownership" in words:
        return f"{words}; run git config --global --add safe.directory {repository_of(folder)}"
    if any(sign in text for text in lines for sign in ("promisor", "missing blob", "could not fetch", "lazy fetching")):
        return f"{words}; this clone lacks objects: run git fetch --refetch --no-filter"
    return words


def why_unreadable(folder: Path, name: str = "") -> str:
    """Return why git cannot read the repository of a folder, and what to do; empty if it can. ``name`` is the folder as messages show it."""
    name = name or str(folder)
    refusal = git_refusal(folder, "rev-parse", "--git-dir")
    if refusal.startswith("not a git repository"):
        return f"{name} is not in a git repository; run in a clone"
    return refusal and f"{name}: git cannot read the repository: {refusal}"


def why_no_commit(folder: Path, name: str = "") -> str:
    """Return why no commit is checked out in a folder, and what to do. ``name`` is the folder as messages show it."""
    return why_unreadable(folder, name) or f"the git repository of {name or folder} has no commit; commit first"


def _run(folder: Path, args: tuple[str, ...], max_bytes: int) -> subprocess.CompletedProcess[bytes] | str:
    """Run git; return its answer, or why there is none."""
    with tempfile.TemporaryFile() as errors:
        try:
            process = subprocess.Popen(  # noqa: S603 - the arguments are ours; names that are not follow --end-of-options
                ["git", *args],  # noqa: S607 - git is found as the user's shell finds it
                cwd=repository_of(folder),
                env=read_only_environment(),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=errors,
            )
        except FileNotFoundError:
            return "git is not installed, or not on PATH; install it"
        except OSError as error:
            return f"git cannot be run: {os_reason(error)}"
        timer = threading.Timer(_TIMEOUT_SECONDS, process.kill)
        timer.daemon = True
        timer.start()
        with process:
            output = process.stdout.read(max_bytes + 1) if process.stdout else b""
            if len(output) > max_bytes:
                process.kill()
        is_late = not timer.is_alive()
        timer.cancel()
        if len(output) > max_bytes:
            return f"git's answer is longer than {max_bytes >> 20} MiB"
        if is_late and process.returncode:
            return f"git did not answer within {_TIMEOUT_SECONDS} s"
        errors.seek(0)
        return subprocess.CompletedProcess(args, process.returncode, output, errors.read(_MAX_ERROR_BYTES))


def repository_of(folder: Path) -> Path:
    """Return the directory to run git in: the top of the work tree, or the directory itself outside of any.

    Git takes a directory with HEAD, objects and refs for a repository, and a commit may contain such files beside a project
    file. A ``.git`` it cannot contain, so that is what is looked for.
    """
    return work_tree_of(folder.absolute()) or folder


def read_only_environment() -> dict[str, str]:
    """Return the environment for a git that prompts for nothing, fetches nothing, replaces no objects and finds no bare repository."""
    count = os.environ.get("GIT_CONFIG_COUNT", "")
    at = int(count) if count.isdigit() else 0
    return {
        **os.environ,
        "GIT_TERMINAL_PROMPT": "0",
        "GIT_NO_LAZY_FETCH": "1",
        "GIT_NO_REPLACE_OBJECTS": "1",
        "GIT_OPTIONAL_LOCKS": "0",
        "GIT_CONFIG_COUNT": str(at + 1),
        f"GIT_CONFIG_KEY_{at}": "safe.bareRepository",
        f"GIT_CONFIG_VALUE_{at}": "explicit",
    }


def require_current(plan: Plan, root: Path, base: str | None) -> None:
    """Raise ``StalePlan`` if the checked-out commit, or the base, is not the one that the plan was created for.

    ``base`` names the base as it is now; by default the name that the plan records.
    """
    if plan.git_commit is None:
        raise StalePlan(
            "plan refused: it records no commit, because it was created outside a git repository; run plan in a clone"
        )
    head = head_commit(root)
    if head is None:
        raise StalePlan(f"plan refused: {why_no_commit(root)}, and check out {plan.git_commit}")
    moved = []
    same_files = plan.git_tree is not None and tree_of(root, head) == plan.git_tree
    fits = head == plan.git_commit or (same_files and (plan.base is None or is_ancestor(root, plan.base.commit, head)))
    if not fits:
        moved.append(f"commit: {head} is checked out, the plan was created for {plan.git_commit}")
    if plan.base is not None:
        name = base or plan.base.name
        now = commit_of(root, name)
        if now is None:
            moved.append(f"base: {name} is not in this clone; fetch it")
        elif now != plan.base.commit and not (fits and now == head):  # the merge itself moves the base to what fits
            moved.append(f"base: {name} is at {now}, the plan was created for {plan.base.commit}")
    if moved:
        raise StalePlan.because(moved)


SUBMODULE, LINK = "160000", "120000"

LIST_TREE = ("ls-tree", "-r", "-l", "-z", "--full-tree")


class TreeEntry(NamedTuple):
    """One line of ``LIST_TREE``; the size of a submodule is 0."""

    mode: str
    id: str
    size: int
    path: str


def tree_entries(listing: str) -> Iterator[TreeEntry]:
    """Yield the entries of git's answer to ``LIST_TREE``."""
    for line in filter(None, listing.split("\0")):
        facts, _, path = line.partition("\t")
        mode, _, identity, size = facts.split()
        yield TreeEntry(mode, identity, int(size) if size.isdigit() else 0, path)


_LIST = ("ls-files", "-z", "-s", "-t")
_SKIPPED = "S"


class _Entry(NamedTuple):
    """One entry of the index; ``path`` is relative to the project's directory."""

    tag: str
    mode: str
    path: str


def missing_files(root: Path) -> tuple[Missing, ...]:
    """Return what git tracks below a directory and its work tree lacks; empty outside of a repository."""
    real = Path(os.path.realpath(root))
    top = work_tree_of(real)
    if top is None:
        return ()
    found = _missing_in(top, real, top)
    if isinstance(found, str):
        return (
            Missing(
                "",
                f"git cannot list the tracked files ({found})",
                "correct that, so that a file that is not checked out is not taken for a removed one",
                is_folder=True,
                is_deleted=True,
            ),
        )
    missing, links = found
    return (*missing, *through_links(missing, links, real))


def _missing_in(top: Path, root: Path, repository: Path) -> tuple[list[Missing], list[str]] | str:
    """Return what a work tree lacks below ``root``, and its links; or why git cannot list it. Submodules are read as well."""
    prefix = root.relative_to(top).as_posix() if root.is_relative_to(top) else "."
    command = (*_LIST, "--", f":(top,literal){prefix}") if prefix != "." else _LIST
    listing = git_output(repository, *command, strip=False)
    if listing is None:
        return git_refusal(repository, *command) or "git said nothing"
    missing: list[Missing] = []
    links: list[str] = []
    is_sparse: bool | None = None
    for entry in _entries(listing, top, root):
        path = root / entry.path
        if entry.mode == SUBMODULE:
            if not (path / ".git").exists():
                missing.append(_submodule(entry.path, top))
                continue
            inner = _missing_in(path, path, path)
            if isinstance(inner, str):
                return inner
            missing += [one._replace(path=f"{entry.path}/{one.path}") for one in inner[0]]
            links += [f"{entry.path}/{link}" for link in inner[1]]
        elif entry.mode == LINK and path.is_symlink():
            links.append(entry.path)
        elif not os.path.lexists(path):
            if entry.tag == _SKIPPED and is_sparse is None:
                is_sparse = git_output(repository, "config", "--type=bool", "core.sparseCheckout") == "true"
            missing.append(_file(entry, top, is_sparse=bool(is_sparse)))
    return missing, links


def _entries(listing: str, top: Path, root: Path) -> Iterator[_Entry]:
    for line in filter(None, listing.split("\0")):
        facts, _, path = line.partition("\t")
        tag, mode, _, _ = facts.split()
        yield _Entry(tag, mode, os.path.relpath(top / path, root) if top != root else path)


def _submodule(path: str, top: Path) -> Missing:
    return Missing(
        path,
        "is a submodule that is not checked out",
        f"run git submodule update --init --recursive in {top.name}",
        is_folder=True,
    )


def _file(entry: _Entry, top: Path, *, is_sparse: bool) -> Missing:
    path = entry.path
    if entry.tag != _SKIPPED:
        return Missing(
            path,
            "is tracked by git and missing from the work tree",
            f"run git restore {sanitize(path)}, or git rm {sanitize(path)} to remove it from the spec",
            is_deleted=True,
        )
    if is_sparse:
        return Missing(
            path,
            "is tracked by git and left out by the sparse checkout",
            f"run git sparse-checkout disable in {top.name}, or add its directory with git sparse-checkout add",
        )
    return Missing(
        path,
        "is tracked by git and missing from the work tree, and skip-worktree hides that",
        f"run git update-index --no-skip-worktree {sanitize(path)}, then git restore {sanitize(path)}",
    )


def through_links(missing: Sequence[Missing], links: Iterable[str], root: Path) -> Iterator[Missing]:
    """Yield what is missing once more, by the path through each link that leads to it or to a directory above it."""
    for link in links if missing else ():
        target = os.path.relpath(os.path.normpath(root / Path(link).parent / (root / link).readlink()), root)
        for one in missing:
            if one.path == target or (one.is_folder and target.startswith(one.path + "/")):
                yield one._replace(path=link)
            elif one.path.startswith(target + "/"):
                yield one._replace(path=link + one.path.removeprefix(target))
