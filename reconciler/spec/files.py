"""Finds and reads the spec files of a target.

Patterns are relative to the project file; ``*``, ``?`` and ``[]`` match within a directory, ``**`` matches any depth, and hidden files need an explicit dot.
An unreadable directory, a pattern without a match and a link to the outside are problems: a partly read spec looks as if resources had been removed.
"""

from __future__ import annotations

import errno
import os
import re
import stat
from collections.abc import Container, Iterable, Iterator, Sequence
from fnmatch import translate
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

from reconciler.errors import os_reason
from reconciler.model.kinds import LISTED
from reconciler.model.target import Project, Target
from reconciler.spec.problems import Problems
from reconciler.spec.yaml import Cache, Source, load
from reconciler.terminal import sanitize

MAX_PROJECT_SIZE = 1 << 20
"""Maximum size of a project file in bytes."""

MAX_FILE_SIZE = 16 << 20
"""Maximum size of a spec file in bytes; a spec of 10,000 channels is far smaller."""

DEFAULT_SPECS = ("specs/**/*.yaml", "specs/**/*.yml")
"""The patterns of a project that names none: one of them has to match, unless a target has its own."""

_SUFFIX = re.compile(r"\.ya?ml\Z", re.IGNORECASE)
_ANY_SUFFIX = ".[yY]*[mM][lL]"
_SECTION = re.compile(rb"^(?:%s)\s*:" % "|".join(kind.section for kind in LISTED.values()).encode(), re.MULTILINE)

_WILD = re.compile(r"[*?\[]")
_OPEN = os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC


class Unreadable(Exception):
    """A file or directory cannot be read; ``what`` and ``hint`` are the texts of the problem."""

    def __init__(self, what: str, hint: str) -> None:
        self.what, self.hint = what, hint
        super().__init__(what)


class Missing(NamedTuple):
    """A file or directory that git tracks and that was not read, because it is not in the work tree.

    ``path`` is relative to the project file's directory; empty means that nothing is known about any file.
    ``what`` and ``hint`` are the texts of the problem. ``is_deleted`` says that it may be missing on purpose, by a delete that
    git does not know of yet: then the spec is read, and nothing is deleted.
    """

    path: str
    what: str
    hint: str
    is_folder: bool = False
    is_deleted: bool = False

    def __str__(self) -> str:
        return " ".join(part for part in (sanitize(self.path), f"{self.what}; {self.hint}") if part)


def project_source(project: Project) -> Source:
    """Read the project file again, to find the line of a problem; an unreadable file gives an empty source."""
    path = Path(project.path)
    try:
        return load(project.prefix + path.name, read_inside(str(path.parent), path.name, max_bytes=MAX_PROJECT_SIZE))
    except Unreadable:
        return Source(project.prefix + path.name, b"")


def read_specs(
    project: Project, target: Target, problems: Problems, missing: Sequence[Missing] = ()
) -> tuple[list[Source], bool]:
    """Return the spec files of a target sorted by name, and whether all of them could be read; problems are added to ``problems``.

    If not, a missing id means nothing. ``missing`` are the target's own (``missing_of``).
    """
    cache = Cache()
    trusted: set[str] = set()
    sources = []
    names, complete = matching_files(project, target, problems)
    for one in missing:
        if not one.is_deleted:
            problems.add(project.prefix + one.path, None, one.what, one.hint)
            complete = False
    for name, (of_project, of_target) in names.items():
        try:
            data = read_inside(project.root, name, max_bytes=MAX_FILE_SIZE, trusted=trusted)
        except Unreadable as error:
            problems.add(project.prefix + name, None, error.what, error.hint)
            complete = False
            continue
        source = load(project.prefix + name, data, cache)
        source.of_target, source.of_both = not of_project, of_project and of_target
        source.report(problems)
        sources.append(source)
        complete = complete and source.complete
    return sources, complete


def missing_of(project: Project, target: Target, missing: Iterable[Missing]) -> tuple[Missing, ...]:
    """Return what a target's patterns would match if it were in the work tree."""
    patterns = (*project.specs, *target.specs)
    return tuple(one for one in missing if any(may_match(pattern, one) for pattern in patterns))


def may_match(pattern: str, missing: Missing) -> bool:
    """Return whether a pattern matches a missing file, or may match files below a missing directory."""
    if not missing.path:
        return True
    parts = [part for part in pattern.split("/") if part not in ("", ".")]
    parts = [*parts, "*"] if parts and parts[-1] == "**" else parts
    names = missing.path.split("/")

    def match(part: int, name: int) -> bool:
        if name == len(names):
            return part < len(parts) if missing.is_folder else part == len(parts)
        if part == len(parts):
            return False
        if parts[part] == "**":
            return match(part + 1, name) or (not names[name].startswith(".") and match(part, name + 1))
        hidden = names[name].startswith(".") and not parts[part].startswith(".")
        return not hidden and bool(_matcher(parts[part]).match(names[name])) and match(part + 1, name + 1)

    return match(0, 0)


@lru_cache(maxsize=64)
def _matcher(part: str) -> re.Pattern[str]:
    return re.compile(translate(part) if _WILD.search(part) else re.escape(part) + r"\Z")


def read_inside(root: str, name: str, *, max_bytes: int, trusted: set[str] | None = None) -> bytes:
    """Return the content of a regular file below ``root``. Raises ``Unreadable``, also for a link to the outside.

    ``max_bytes`` is the maximum size in bytes; ``trusted`` caches directories that are known to be inside.
    """
    path = f"{root}/{name}"
    folder = name.rpartition("/")[0]
    try:
        # O_NOFOLLOW: check a link before following it. O_NONBLOCK: do not wait for a pipe.
        try:
            handle = os.open(path, _OPEN | os.O_NOFOLLOW)
        except OSError as error:
            if error.errno != errno.ELOOP:
                raise
            _check_inside(root, path)
            handle = os.open(path, _OPEN)
        try:
            status = os.fstat(handle)
            _check_regular_file(status, max_bytes)
            if trusted is None or folder not in trusted:
                _check_inside(root, path)
                if trusted is not None:
                    trusted.add(folder)
            return _read_all(handle, status.st_size, max_bytes)
        finally:
            os.close(handle)
    except (FileNotFoundError, NotADirectoryError):
        if os.path.islink(path):  # noqa: PTH114
            raise Unreadable("is a symbolic link to a file that does not exist", "fix the link") from None
        raise Unreadable("does not exist", "check the path; it is relative to the project file") from None
    except PermissionError:
        raise Unreadable("cannot be read: permission denied", "check the permissions of the file") from None
    except OSError as error:
        raise Unreadable(f"cannot be read: {os_reason(error)}", "check the file") from None


def _check_regular_file(status: os.stat_result, max_bytes: int) -> None:
    if stat.S_ISDIR(status.st_mode):
        raise Unreadable("is a directory", "name a file in it")
    if not stat.S_ISREG(status.st_mode):
        raise Unreadable("is not a regular file", "name a regular file")
    if status.st_size > max_bytes:
        raise Unreadable(
            f"has {status.st_size:,} bytes, more than the limit of {max_bytes:,}", "check that it is the right file"
        )


def _read_all(handle: int, size: int, max_bytes: int) -> bytes:
    """Read to the end of the file, which may have grown since ``size`` was read, but not beyond ``max_bytes``."""
    content = os.read(handle, size + 1)
    if len(content) == size:
        return content
    parts = [content]
    while part := os.read(handle, 1 << 20):
        parts.append(part)
        if sum(map(len, parts)) > max_bytes:
            raise Unreadable(
                f"grows while it is read, beyond the limit of {max_bytes:,} bytes", "check that it is the right file"
            )
    return b"".join(parts)


def _check_inside(root: str, path: str) -> None:
    if not _is_inside(root, path):
        noun = "directory" if os.path.isdir(path) else "file"  # noqa: PTH112
        raise Unreadable(f"is a symbolic link to a {noun} outside the project", f"move the {noun} into the project")


def _is_inside(root: str, path: str) -> bool:
    real, top = os.path.realpath(path), os.path.realpath(root)
    return os.path.commonpath([real, top]) == top


def matching_files(project: Project, target: Target, problems: Problems) -> tuple[dict[str, tuple[bool, bool]], bool]:
    """Return the files that patterns match, and whether every pattern could be expanded; what is wrong is added to ``problems``.

    The files are sorted by name, each with whether a pattern of the project, and one of the target, matches it.
    """
    is_default = project.specs == DEFAULT_SPECS
    found: dict[str, tuple[bool, bool]] = {}
    stems: dict[str, str] = {}
    itself = Path(project.path).name
    complete = True
    for index, pattern in enumerate((*project.specs, *target.specs)):
        own = index - len(project.specs)
        try:
            names = list(_expand(project.root, pattern))
            for name in names:
                if name != itself:
                    of_project, of_target = found.get(name, (False, False))
                    found[name] = (of_project or own < 0, of_target or own >= 0)
            if names and _WILD.search(pattern) and _SUFFIX.search(pattern):
                stems[_SUFFIX.sub("", pattern)] = pattern
            if not names and not (is_default and own < 0 and (index == 0 or found or target.specs)):
                raise Unreadable(*_why_no_match(project.root, DEFAULT_SPECS[0] if is_default and own < 0 else pattern))
        except Unreadable as error:
            complete = False
            source = project_source(project)
            shown = DEFAULT_SPECS[0] if is_default and own < 0 else pattern
            noun = "pattern" if _WILD.search(shown) else "path"
            path = ("specs", index) if own < 0 else ("targets", target.name, "specs", own)
            problems.add(source.name, source.mark(path), f'{noun} "{shown}" {error.what}', error.hint)
    ignored = {name: pattern for stem, pattern in stems.items() for name in _with_other_suffix(project, stem, found)}
    for name, pattern in ignored.items():
        problems.add(
            project.prefix + name,
            None,
            f'looks like a spec file, but no pattern matches it: "{pattern}" is for another suffix',
            "rename it, or add a pattern",
        )
        complete = False
    return dict(sorted(found.items())), complete


def _with_other_suffix(project: Project, stem: str, found: Container[str]) -> Iterator[str]:
    """Yield the spec files that only the suffix keeps from a pattern with this stem, and that no pattern of the project matches."""
    try:
        names = [name for name in _expand(project.root, stem + _ANY_SUFFIX) if _SUFFIX.search(name)]
    except Unreadable:
        return  # reported for the pattern itself
    for name in names:
        if name in found or name == Path(project.path).name:
            continue
        patterns = (*project.specs, *(each for target in project.targets.values() for each in target.specs))
        if any(may_match(pattern, Missing(name, "", "")) for pattern in patterns):
            continue
        try:
            if _SECTION.search(read_inside(project.root, name, max_bytes=MAX_FILE_SIZE)):
                yield name
        except Unreadable:
            continue  # it would not be read as a spec either


def _expand(root: str, pattern: str) -> Iterator[str]:
    """Yield the files that match a pattern, relative to ``root``. A link to a directory outside is yielded itself, and reading it is refused."""
    parts = [part for part in pattern.split("/") if part not in ("", ".")]
    if pattern.startswith(("/", "~")) or ".." in parts:
        raise Unreadable("is outside the project", "use a path below the directory of the project file")
    if not _WILD.search(pattern):
        yield _check_named_file(root, "/".join(parts))
        return
    *above, last = [*parts, "*"] if parts[-1] == "**" else parts
    folders = [""]
    outside: set[str] = set()
    for part in above:
        below = dict.fromkeys(below for folder in folders for below in _folders(root, folder, part, outside))
        folders = [folder for folder in below if folder.rstrip("/") not in outside]
    for folder in folders:
        yield from _files(root, folder, last)
    yield from sorted(outside)


def _check_named_file(root: str, name: str) -> str:
    """Return the name if the file can be read. Raises ``Unreadable`` otherwise."""
    if os.path.isdir(os.path.join(root, name)):  # noqa: PTH112, PTH118
        raise Unreadable("is a directory", f'write a pattern, such as "{name}/**/*.yaml"')
    read_inside(root, name, max_bytes=MAX_FILE_SIZE)
    return name


def _folders(root: str, folder: str, part: str, outside: set[str]) -> Iterable[str]:
    """Return the directories in ``folder`` that match a part of a pattern, each with a trailing slash; links out of the project go to ``outside``."""
    if part == "**":
        return _tree(root, folder, outside)
    if _WILD.search(part):
        names = [folder + name for name, is_folder in _scan(root, folder, part) if is_folder]
    else:
        names = [folder + part] if os.path.isdir(os.path.join(root, folder, part)) else []  # noqa: PTH112, PTH118
    return _within(root, names, outside)


def _within(root: str, names: Iterable[str], outside: set[str]) -> list[str]:
    """Return these directories, each with a trailing slash, without the links out of the project, which go to ``outside``."""
    paths = {name: os.path.join(root, name) for name in names}  # noqa: PTH118
    out = {name for name, path in paths.items() if os.path.islink(path) and not _is_inside(root, path)}  # noqa: PTH114
    outside |= out
    return [name + "/" for name in paths if name not in out]


def _files(root: str, folder: str, part: str) -> list[str]:
    """Return the files in ``folder`` that match the last part of a pattern."""
    if _WILD.search(part):
        return [folder + name for name, is_folder in _scan(root, folder, part) if not is_folder]
    return [folder + part] if os.path.lexists(os.path.join(root, folder, part)) else []  # noqa: PTH118


def _tree(root: str, folder: str, outside: set[str]) -> Iterator[str]:
    """Yield a directory and all directories below it, each once, also with link loops."""
    seen: set[str] = set()
    waiting = [folder]
    while waiting:
        current = waiting.pop()
        real = os.path.realpath(os.path.join(root, current))  # noqa: PTH118
        if real in seen:
            continue
        seen.add(real)
        yield current
        waiting += _within(
            root, (current + name for name, is_folder in _scan(root, current, "*") if is_folder), outside
        )


def _scan(root: str, folder: str, pattern: str) -> list[tuple[str, bool]]:
    """Return the matching names in a directory, sorted, each with whether it is a directory."""
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
            f"cannot be read: {folder or './'}: {os_reason(error)}", "check the permissions of the directory"
        ) from None
    return sorted(found)


def _why_no_match(root: str, pattern: str) -> tuple[str, str]:
    """Return why a pattern matches no files, and a hint."""
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
