"""Where the records of applies are kept: in the project's directory ``.ivs-reconciler``, or in S3, where every machine finds them.

A record is the text of one target. A write is conditional: it fails if another run wrote since the read, and the caller
reads and writes again, so that no record is lost silently. Records hold no secret, and nothing but explanations depends on
them: a bucket that cannot be reached is reported and fails nothing.
"""

from __future__ import annotations

import contextlib
import errno
import threading
import time
import zlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Protocol

from reconciler.aws.objects import ListedObject, S3Object, list_objects, open_s3
from reconciler.errors import UNREADABLE, AwsError, os_reason
from reconciler.files import MAX_BYTES, read_private, replace_file
from reconciler.model.target import Project, S3State, Target

FOLDER = ".ivs-reconciler"
_CONNECT_SECONDS, _READ_SECONDS = 5.0, 20.0
_TRIES = 2
_DOWN_SECONDS = 60.0
"""How long a bucket that could not be reached is not asked again: a fleet would wait for each of its targets."""

_CONNECTIONS = 8
_MAX_REPORTS = 5_000
_MAX_REPORT_BYTES = 64 * 1024
_ADVICE = "allow s3:GetObject and s3:PutObject on it, or correct state in the project file"


class BucketUnusable(OSError):
    """A bucket could not be reached or used; the text says why."""


class Records(Protocol):
    """The records of a stack, by target. A token identifies one state of a record."""

    def where(self, target: str) -> str:
        """Return where a record is, for messages."""

    def read(self, target: str) -> tuple[str, str]:
        """Return the text of a record and its token. Raises ``FileNotFoundError`` if there is none, ``OSError``, and ``ValueError`` if it is no text."""

    def write(self, target: str, text: str, token: str) -> bool:
        """Write a record, and return whether it was still as its token says. Raises ``OSError``."""

    def refresh(self, target: str) -> None:
        """Read the record again the next time: another machine may have written it."""


@dataclass(frozen=True, slots=True)
class FolderRecords:
    """Records in files of the directory ``.ivs-reconciler``. The last writer wins: a lock keeps applies of one machine apart."""

    root: Path

    def where(self, target: str) -> str:
        """Return the path of the file, relative to the project."""
        return f"{FOLDER}/{self._path(target).name}"

    def read(self, target: str) -> tuple[str, str]:
        """Return the content of the file."""
        return read_private(self._path(target), errors="replace"), ""

    def write(self, target: str, text: str, token: str) -> bool:
        """Replace the file."""
        del token
        ensure_folder(self.root)
        replace_file(self._path(target), text)
        return True

    def refresh(self, target: str) -> None:
        """Do nothing: the file is read each time."""

    def _path(self, target: str) -> Path:
        return self.root / FOLDER / f"applied-{safe_name(target)}.json"


class S3Records:
    """Records in S3 objects, ``PREFIX/STACK/TARGET/applied.json``, read once for each survey of a target. Thread-safe.

    Beside them, a controller writes ``reconciled.json``: what it reported of the target last.
    """

    def __init__(
        self,
        state: S3State,
        stack: str,
        *,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._state = state
        self._base = f"{state.prefix}{stack}/"
        self._clock = clock
        self._sleep = sleep
        self._lock = threading.Lock()
        self._known: dict[str, tuple[bytes | None, str]] = {}
        self._down: tuple[float, str] = (0.0, "")
        self._made: Any = None  # botocore builds its clients at run time
        self._reports: dict[str, tuple[str, str]] = {}

    def where(self, target: str) -> str:
        """Return the URL of the object."""
        return f"s3://{self._state.bucket}/{self._key(target, 'applied')}"

    def read(self, target: str) -> tuple[str, str]:
        """Return the content of the object, and its ETag."""
        with self._lock:
            found = self._known.get(target)
        if found is None:
            data, token = self._reach(lambda: self._object(target, "applied", MAX_BYTES).read())
            found = (None if data is None else zlib.compress(data, 1), token)
            with self._lock:
                self._known[target] = found
        if found[0] is None:
            raise FileNotFoundError(errno.ENOENT, "no record", self.where(target))
        return zlib.decompress(found[0]).decode(errors="replace"), found[1]

    def write(self, target: str, text: str, token: str) -> bool:
        """Write the object if it still has this ETag, or does not exist."""
        data = text.encode()
        written = self._reach(lambda: self._object(target, "applied", MAX_BYTES).write(data, token))
        with self._lock:
            if written is None:
                self._known.pop(target, None)
            else:
                self._known[target] = (zlib.compress(data, 1), written)
        return written is not None

    def refresh(self, target: str) -> None:
        """Drop what is known of a record."""
        with self._lock:
            self._known.pop(target, None)

    def report(self, target: str, content: Callable[[str], str]) -> None:
        """Write what a controller reports of a target, made from what was reported before. Raises ``BucketUnusable``.

        If another controller wrote meanwhile, its report is the newer one and stays.
        """
        place = self._object(target, "reconciled", _MAX_REPORT_BYTES)
        data, token = self._reach(place.read)
        self._reach(lambda: place.write(content((data or b"").decode(errors="replace")).encode(), token))

    def reports(self) -> list[str]:
        """Return what controllers reported, in the order of keys. What did not change since the last call is not read again. Raises ``BucketUnusable``."""
        listed = self._reach(lambda: [*list_objects(self._client, self._state.bucket, self._base, 2 * _MAX_REPORTS)])
        found = [one for one in listed if one.key.endswith("/reconciled.json") and one.size <= _MAX_REPORT_BYTES]

        def read(one: ListedObject) -> tuple[str, str]:
            known = self._reports.get(one.key)
            if known is not None and known[0] == one.etag:
                return known
            data, token = self._reach(self._at(one.key, _MAX_REPORT_BYTES).read)
            return token, (data or b"").decode(errors="replace")

        with ThreadPoolExecutor(_CONNECTIONS, thread_name_prefix="reports") as pool:
            self._reports = dict(zip((one.key for one in found), pool.map(read, found), strict=True))
        return [text for _, text in self._reports.values()]

    def _reach(self, call: Callable[[], Any]) -> Any:
        """Return the result of a call. Raises ``OSError``; for a while, at once if the bucket could not be reached."""
        until, why = self._down
        if self._clock() < until:
            raise BucketUnusable(why)
        try:
            return call()
        except AwsError as error:
            why = str(error)
            if error.retryable or (not error.status and error.code != UNREADABLE):
                # S3 did not answer, or there are no credentials. A refusal comes at once, and is about one object.
                why = f"s3://{self._state.bucket} cannot be used: {why.rpartition(' cannot be used: ')[2]}"
                self._down = (self._clock() + _DOWN_SECONDS, why)
            raise BucketUnusable(why) from None

    def _key(self, target: str, name: str) -> str:
        return f"{self._base}{safe_name(target)}/{name}.json"

    def _object(self, target: str, name: str, max_bytes: int) -> S3Object:
        return self._at(self._key(target, name), max_bytes)

    def _at(self, key: str, max_bytes: int) -> S3Object:
        return S3Object(
            self._client,
            self._state.bucket,
            key,
            what="the record",
            article="a record",
            advice=_ADVICE,
            max_bytes=max_bytes,
            tries=_TRIES,
            sleep=self._sleep,
        )

    def _client(self) -> Any:
        with self._lock:
            if self._made is None:
                state = self._state
                target = Target("state", state.region, profile=state.profile, role_arn=state.role_arn)
                self._made = open_s3(target, _CONNECTIONS, read_seconds=_READ_SECONDS, connect_seconds=_CONNECT_SECONDS)
            return self._made


def records_of(project: Project) -> Records:
    """Return where the records of a project are. There is one client for a bucket in a process."""
    if project.state is None:
        return FolderRecords(Path(project.root))
    return shared_records(project.state, project.stack)


@lru_cache(maxsize=8)
def shared_records(state: S3State, stack: str) -> S3Records:
    """Return the records of a stack in S3, the same at every call."""
    return S3Records(state, stack)


def ensure_folder(root: Path) -> None:
    """Create the directory of records and journals, its owner's only, with a ``.gitignore``. Raises ``OSError``, also if it is a link."""
    folder = root / FOLDER
    if folder.is_symlink():
        raise OSError(errno.ELOOP, "is a symbolic link", str(folder))
    folder.mkdir(mode=0o700, exist_ok=True)
    with contextlib.suppress(OSError):  # another user's directory
        folder.chmod(0o700)
    ignore = folder / ".gitignore"
    if ignore.is_symlink() or not ignore.exists() or not ignore.stat().st_size:
        replace_file(ignore, "*\n", mode=0o644)


def why_unusable(where: str, error: OSError) -> str:
    """Return why a record could not be read or written, such as ``.ivs-reconciler/applied-dev.json: permission denied``."""
    return str(error) if isinstance(error, BucketUnusable) else f"{where}: {os_reason(error)}"


def safe_name(target: str) -> str:
    """Return a target's name, encoded for use in a file name."""
    return "".join(char if char.isalnum() or char in "-_" else f"%{ord(char):x}" for char in target)
