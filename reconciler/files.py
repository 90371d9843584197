"""Files that several processes use: locked, with a bound on the wait, and replaced atomically.

Our own files in a project may be links or devices that a commit put there: they are opened without following links, and read within bounds.
"""

from __future__ import annotations

import codecs
import errno
import fcntl
import os
import secrets
import stat
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

_POLL_SECONDS = 0.1

MAX_BYTES = 64 << 20
"""Maximum size of a file of ours that is read at once; the record of 10,000 channels is a tenth of that."""

MAX_REPORT_BYTES = 256 << 20
"""Maximum size of a saved plan or report; the plan of 10,000 new channels is a fifteenth of that."""

_PART_BYTES = 256 << 10


def locked(handle: int, patience: float) -> bool:
    """Lock an open file exclusively, until it is closed; ``False`` if another process kept it for ``patience`` seconds.

    A process that is stopped keeps the operating system's lock as long as it lives.
    Raises ``OSError``, for example on a file system without locks.
    """
    until = time.monotonic() + patience
    while True:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() >= until:
                return False
            time.sleep(_POLL_SECONDS)
        else:
            return True


def open_private(path: Path, flags: int) -> int:
    """Open a regular file of ours, created readable by its owner only. Raises ``OSError``, also if it or its directory is a symbolic link."""
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        # O_NONBLOCK: do not wait for a pipe.
        handle = os.open(path.name, flags | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, 0o600, dir_fd=folder)
    finally:
        os.close(folder)
    if not stat.S_ISREG(os.fstat(handle).st_mode):
        os.close(handle)
        raise OSError(errno.EINVAL, "not a regular file", str(path))
    return handle


def read_private(path: Path, *, errors: str = "strict") -> str:
    """Return the text of a file of ours. Raises ``OSError``, also for a link, a device or a file larger than ``MAX_BYTES``, and ``ValueError``."""
    with os.fdopen(open_private(path, os.O_RDONLY), "rb") as stream:
        data = stream.read(MAX_BYTES + 1)
    if len(data) > MAX_BYTES:
        raise OSError(errno.EFBIG, os.strerror(errno.EFBIG), str(path))
    return data.decode("utf-8", errors)


def read_report(path: Path) -> str:
    """Return the text of a saved plan or report, which may be a pipe. Raises ``OSError``, also for more than ``MAX_REPORT_BYTES``, and ``ValueError``."""
    return "".join(report_parts(path))


def report_parts(path: Path) -> Iterator[str]:
    """Yield the text of a saved plan or report in parts. Raises as ``read_report`` does."""
    decoder, size = codecs.getincrementaldecoder("utf-8")(), 0
    with path.open("rb") as stream:
        while data := stream.read(_PART_BYTES):
            size += len(data)
            if size > MAX_REPORT_BYTES:
                raise OSError(errno.EFBIG, os.strerror(errno.EFBIG), str(path))
            yield decoder.decode(data)
    yield decoder.decode(b"", final=True)


def replace_file(path: Path, text: str | Iterable[str], *, mode: int | None = 0o600) -> None:
    """Write a file so that a reader finds the old content or the new one, which is on disk when this returns. Raises ``OSError``.

    ``text`` may come in parts. ``mode`` ``None`` leaves the permissions to the umask.
    """
    # No program that reads all files of one ending in this directory finds the new one before it is complete.
    name = path.parent / f".{path.name}.{secrets.token_hex(4)}.new"
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    handle = os.open(name, flags, 0o666 if mode is None else 0o600)
    try:
        with os.fdopen(handle, "w", encoding="utf-8", errors="backslashreplace") as stream:
            stream.writelines((text,) if isinstance(text, str) else text)
            stream.flush()
            os.fsync(stream.fileno())
        if mode is not None:
            name.chmod(mode)
        name.replace(path)
    finally:
        name.unlink(missing_ok=True)
