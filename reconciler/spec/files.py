"""Which files a target's specs are, and their bytes.

Patterns start from the folder of the project file; ``*``, ``?`` and ``[]`` stay within a folder, ``**`` goes through all of them; hidden files take part only where a pattern names them.
Nothing is passed over in silence: a folder that cannot be read, a pattern that matches nothing, a link that leads outside are problems, because a spec that is half read looks like a spec from which resources were removed.
"""

from __future__ import annotations

import errno
import os
import re
import stat
from collections.abc import Iterable, Iterator
from fnmatch import translate
from pathlib import Path

from reconciler.model.target import Project, Target
from reconciler.spec.problems import Problems
from reconciler.spec.yaml import Cache, Source, load

MAX_FILE_SIZE = 16 << 20
"""Bytes that a spec file may have: some hundred times the largest that is meant."""

_WILD = re.compile(r"[*?\[]")
_OPEN = os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC


class Unreadable(Exception):
    """A file or folder cannot be used. Holds what to say."""

    def __init__(self, what: str, hint: str) -> None:
        self.what, self.hint = what, hint
        super().__init__(what)


def project_source(project: Project) -> Source:
    """Read the project file again, to find a place in it."""
    path = Path(project.path)
    try:
        return load(project.prefix + path.name, path.read_bytes())
    except OSError:
        return Source(project.prefix + path.name, b"")


def read_specs(project: Project, target: Target, problems: Problems) -> tuple[list[Source], bool]:
    """Read every spec file of a target, in the order of their names; what cannot be read is noted in ``problems``.

    Return what was read, and whether that is all there is: where it is not, nothing may be concluded from an id that is missing.
    """
    cache = Cache()
    trusted: set[str] = set()
    sources = []
    names, complete = _matching_files(project, target, problems)
    for name in names:
        try:
            data = read_inside(project.root, name, most=MAX_FILE_SIZE, trusted=trusted)
        except Unreadable as error:
            problems.add(project.prefix + name, None, error.what, error.hint)
            complete = False
            continue
        source = load(project.prefix + name, data, cache)
        source.report(problems)
        sources.append(source)
        complete = complete and source.whole
    return sources, complete


def read_inside(root: str, name: str, *, most: int | None = None, trusted: set[str] | None = None) -> bytes:
    """Read a regular file below ``root``. Raises ``Unreadable``, also for a link that leads outside.

    ``most`` is the size allowed, in bytes; ``trusted`` remembers folders known to be inside from one call to the next.
    """
    path = f"{root}/{name}"
    folder = name.rpartition("/")[0]
    try:
        # A link is not followed before it was looked at, and a pipe is not waited for.
        try:
            handle = os.open(path, _OPEN | os.O_NOFOLLOW)
        except OSError as error:
            if error.errno != errno.ELOOP:
                raise
            _check_inside(root, path)
            handle = os.open(path, _OPEN)
        try:
            status = os.fstat(handle)
            _check_regular_file(status, most)
            if trusted is None or folder not in trusted:
                _check_inside(root, path)
                if trusted is not None:
                    trusted.add(folder)
            return _read_all(handle, status.st_size)
        finally:
            os.close(handle)
    except FileNotFoundError:
        if os.path.islink(path):  # noqa: PTH114
            raise Unreadable("is a symbolic link to a file that does not exist", "fix the link") from None
        raise Unreadable("does not exist", "check the path; it is relative to the project file") from None
    except NotADirectoryError:
        raise Unreadable("does not exist", "check the path; it is relative to the project file") from None
    except PermissionError:
        raise Unreadable("cannot be read: permission denied", "check the permissions of the file") from None
    except OSError as error:
        raise Unreadable(f"cannot be read: {(error.strerror or 'unknown').lower()}", "check the file") from None


def _check_regular_file(status: os.stat_result, most: int | None) -> None:
    if stat.S_ISDIR(status.st_mode):
        raise Unreadable("is a directory", "name a file in it")
    if not stat.S_ISREG(status.st_mode):
        raise Unreadable("is not a regular file", "name a regular file")
    if most is not None and status.st_size > most:
        raise Unreadable(
            f"has {status.st_size:,} bytes, more than the limit of {most:,}", "check that it is the right file"
        )


def _read_all(handle: int, size: int) -> bytes:
    """Read to the end; the size is a guess, because a file may grow."""
    content = os.read(handle, size + 1)
    if len(content) == size:
        return content
    parts = [content]
    while part := os.read(handle, 1 << 20):
        parts.append(part)
    return b"".join(parts)


def _check_inside(root: str, path: str) -> None:
    real, top = os.path.realpath(path), os.path.realpath(root)
    if os.path.commonpath([real, top]) != top:
        raise Unreadable("is a symbolic link to a file outside the project", "move the file into the project")


def _matching_files(project: Project, target: Target, problems: Problems) -> tuple[list[str], bool]:
    """Return the files that the patterns name, and whether every pattern could be followed."""
    own = target.specs is not None
    found: dict[str, None] = {}
    itself = Path(project.path).name
    complete = True
    for index, pattern in enumerate(target.specs or project.specs):
        matched = 0
        try:
            for name in _expand(project.root, pattern):
                matched += 1
                if name != itself:
                    found[name] = None
            if not matched:
                raise Unreadable(*_why_no_match(project.root, pattern))
        except Unreadable as error:
            complete = False
            source = project_source(project)
            noun = "pattern" if _WILD.search(pattern) else "path"
            path = ("targets", target.name, "specs", index) if own else ("specs", index)
            problems.add(source.name, source.mark(path), f'{noun} "{pattern}" {error.what}', error.hint)
    return sorted(found), complete


def _expand(root: str, pattern: str) -> Iterator[str]:
    """Yield the files that a pattern names, relative to ``root``."""
    parts = [part for part in pattern.split("/") if part not in ("", ".")]
    if pattern.startswith(("/", "~")) or ".." in parts:
        raise Unreadable("is outside the project", "use a path below the directory of the project file")
    if not _WILD.search(pattern):
        yield _check_named_file(root, "/".join(parts))
        return
    *above, last = [*parts, "*"] if parts[-1] == "**" else parts
    folders = [""]
    for part in above:
        folders = list(dict.fromkeys(below for folder in folders for below in _folders(root, folder, part)))
    for folder in folders:
        yield from _files(root, folder, last)


def _check_named_file(root: str, name: str) -> str:
    """Return the name of a file that can be read."""
    if os.path.isdir(os.path.join(root, name)):  # noqa: PTH112, PTH118
        raise Unreadable("is a directory", f'write a pattern, such as "{name}/**/*.yaml"')
    read_inside(root, name)
    return name


def _folders(root: str, folder: str, part: str) -> Iterable[str]:
    """Return the folders that one part of a pattern names in a folder; each ends in a slash."""
    if part == "**":
        return _tree(root, folder)
    if _WILD.search(part):
        return [folder + name + "/" for name, is_folder in _scan(root, folder, part) if is_folder]
    return [folder + part + "/"] if os.path.isdir(os.path.join(root, folder, part)) else []  # noqa: PTH112, PTH118


def _files(root: str, folder: str, part: str) -> list[str]:
    """Return the files that the last part of a pattern names in a folder."""
    if _WILD.search(part):
        return [folder + name for name, is_folder in _scan(root, folder, part) if not is_folder]
    return [folder + part] if os.path.lexists(os.path.join(root, folder, part)) else []  # noqa: PTH118


def _tree(root: str, folder: str) -> Iterator[str]:
    """Yield a folder and every folder below it, each once, whatever links there are."""
    seen: set[str] = set()
    waiting = [folder]
    while waiting:
        current = waiting.pop()
        real = os.path.realpath(os.path.join(root, current))  # noqa: PTH118
        if real in seen:
            continue
        seen.add(real)
        yield current
        waiting.extend(current + name + "/" for name, is_folder in _scan(root, current, "*") if is_folder)


def _scan(root: str, folder: str, pattern: str) -> list[tuple[str, bool]]:
    """Return what matches in one folder, by name, each with whether it is a folder."""
    match = re.compile(translate(pattern)).match
    hidden = pattern.startswith(".")
    try:
        with os.scandir(os.path.join(root, folder)) as entries:  # noqa: PTH118
            found = [
                (entry.name, entry.is_dir())
                for entry in entries
                if match(entry.name) and (hidden or not entry.name.startswith("."))
            ]
    except OSError as error:
        raise Unreadable(
            f"cannot be read: {folder or './'}: {(error.strerror or 'unknown').lower()}",
            "check the permissions of the directory",
        ) from None
    return sorted(found)


def _why_no_match(root: str, pattern: str) -> tuple[str, str]:
    """Say why a pattern matched nothing: a folder is missing, or no file fits."""
    folder = ""
    for part in pattern.split("/")[:-1]:
        if _WILD.search(part):
            break
        folder += part + "/"
        if not os.path.isdir(os.path.join(root, folder)):  # noqa: PTH112, PTH118
            return f"matches no files: directory {folder} does not exist", "create it, or correct the pattern"
    other = (
        pattern[:-5] + ".yml"
        if pattern.endswith(".yaml")
        else pattern[:-4] + ".yaml"
        if pattern.endswith(".yml")
        else ""
    )
    try:
        near = next(_expand(root, other), "") if other else ""
    except Unreadable:
        near = ""
    if near:
        return "matches no files", f'did you mean "{other}"? It matches {near}'
    return "matches no files", f"add a spec file to {folder or 'this directory'}, or correct the pattern"
