"""Values of stream keys that go into files: one for the caller who asked for it, and one that plays the stores of an embedded server.

A file is there whole or not at all, whatever ends this process: half a value looks like one.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
from pathlib import Path

from reconciler.errors import AwsError
from reconciler.model.sink import Sink


def to_file(path: Path, value: str) -> None:
    """Write a file that was not there and that only its owner can read. Raises ``AwsError``."""
    data = f"{value}\n".encode()
    try:
        if _at_once(path, data):
            return
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        raise AwsError(
            f"the file {path} is there already, and is not written over; name another", code="FileExists", calls=0
        ) from None
    except OSError as error:
        raise _unwritable(path, error) from None
    try:
        with os.fdopen(handle, "wb") as stream:
            stream.write(data)
            stream.flush()
            os.fsync(stream.fileno())
    except OSError as error:
        # Half a value is of no use, and would stand in the way of the next try.
        path.unlink(missing_ok=True)
        raise _unwritable(path, error) from None


def _at_once(path: Path, data: bytes) -> bool:
    """Write a file without a name, which nobody ever finds, and name it once it is on the disk; ``False`` where that cannot be done. Raises ``FileExistsError``."""
    if not hasattr(os, "O_TMPFILE"):
        return False
    try:
        folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    except OSError:
        return False
    try:
        with os.fdopen(os.open(path.parent, os.O_WRONLY | os.O_TMPFILE, 0o600), "wb") as stream:
            stream.write(data)
            stream.flush()
            os.fsync(stream.fileno())
            os.link(f"/proc/self/fd/{stream.fileno()}", path, src_dir_fd=folder, follow_symlinks=True)
        os.fsync(folder)
    except FileExistsError:
        raise
    except OSError:
        return False  # the plain way works, or says what is wrong
    finally:
        os.close(folder)
    return True


def to_stand_in(path: Path, sink: Sink, value: str) -> None:
    """Keep a value of an embedded server, which opens nothing, in a file beside it. Raises ``AwsError``."""
    scratch = path.with_name(path.name + ".new")
    try:
        # Threads and processes take turns: of two that read the same file, the second would write the first one's value away.
        with os.fdopen(os.open(path.with_name(path.name + ".lock"), os.O_RDWR | os.O_CREAT, 0o600)) as turn:
            fcntl.flock(turn, fcntl.LOCK_EX)
            held: dict[str, str] = {}
            with contextlib.suppress(OSError, ValueError):
                held = json.loads(path.read_text(encoding="utf-8"))
            held[sink.mark] = value
            handle = os.open(scratch, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
            with os.fdopen(handle, "w", encoding="utf-8") as stream:
                json.dump(held, stream, indent=1)
            scratch.replace(path)
    except OSError as error:
        raise AwsError(
            f"{path}, which plays {sink}, cannot be written ({(error.strerror or 'unknown').lower()})",
            code="FileUnwritable",
            calls=0,
        ) from None


def _unwritable(path: Path, error: OSError) -> AwsError:
    return AwsError(
        f"the file {path} cannot be written ({(error.strerror or 'unknown').lower()}); name another",
        code="FileUnwritable",
        calls=0,
    )
