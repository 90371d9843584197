"""Finds what git tracks below a project and the work tree lacks: sparse checkouts, skip-worktree, submodules, deleted files.

Without it, a spec file that was not checked out is the same as one that was removed, and its resources would be deleted.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from reconciler.git.clone import git_output, git_refusal, work_tree_of
from reconciler.spec.files import Missing
from reconciler.terminal import sanitize

SUBMODULE, LINK = "160000", "120000"
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
    """Return what a work tree lacks below ``root``, and its links; or why git cannot tell. Submodules are read as well."""
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
            missing += [_below(entry.path, one) for one in inner[0]]
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


def _below(folder: str, missing: Missing) -> Missing:
    return Missing(f"{folder}/{missing.path}", missing.what, missing.hint, missing.is_folder, missing.is_deleted)


def through_links(missing: Sequence[Missing], links: Iterable[str], root: Path) -> Iterator[Missing]:
    """Yield what is missing once more, by the path through each link that leads to it or to a directory above it."""
    for link in links if missing else ():
        target = os.path.relpath(os.path.normpath(root / Path(link).parent / (root / link).readlink()), root)
        for one in missing:
            if one.path == target or (one.is_folder and target.startswith(one.path + "/")):
                yield Missing(link, one.what, one.hint, one.is_folder, one.is_deleted)
            elif one.path.startswith(target + "/"):
                path = link + one.path.removeprefix(target)
                yield Missing(path, one.what, one.hint, one.is_folder, one.is_deleted)
