"""A lock in a file: who holds it, read and written under the system's own file lock, so that two processes of one machine never both believe to hold it."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from collections.abc import Iterator
from pathlib import Path

from reconciler.errors import UsageError
from reconciler.model.holder import Holder, from_json, to_json
from reconciler.pipeline.flock import locked

_MOST = 65_536


class FileDoor:
    """The file at a path. A token names one state of it. ``patience`` is how many seconds another process may have it open for."""

    def __init__(self, path: str, *, patience: float = 30.0) -> None:
        self.where = f"the lock file {path}"
        self._path = Path(path)
        self._patience = patience

    def read(self) -> tuple[Holder | None, str]:
        """Return who holds or held it, and the token of what was read. Raises ``UsageError``."""
        with self._open() as handle:
            return self._content(handle)

    def write(self, holder: Holder, token: str) -> str | None:
        """Write, if nothing has changed since the token; return the new token, or ``None`` when something has. Raises ``UsageError``."""
        with self._open() as handle:
            if self._token(os.pread(handle, _MOST, 0)) != token:
                return None
            data = json.dumps(to_json(holder), indent=1).encode() + b"\n"
            os.pwrite(handle, data, 0)
            os.ftruncate(handle, len(data))
            os.fsync(handle)
            return self._token(data)

    def force(self, holder: Holder) -> None:
        """Write whatever stands there, understood or not. Raises ``UsageError``."""
        with self._open() as handle:
            token = self._token(os.pread(handle, _MOST, 0))
        self.write(holder, token)

    def _content(self, handle: int) -> tuple[Holder | None, str]:
        data = os.pread(handle, _MOST, 0)
        if not data:
            return None, ""
        try:
            return from_json(json.loads(data)), self._token(data)
        except (ValueError, RecursionError):
            raise UsageError(
                f"{self.where} holds something else than a lock; name another file, or release it with unlock --force"
            ) from None

    @staticmethod
    def _token(data: bytes) -> str:
        return hashlib.sha256(data).hexdigest() if data else ""

    @contextlib.contextmanager
    def _open(self) -> Iterator[int]:
        """Open the file with nobody else inside."""
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            handle = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        except OSError as error:
            raise UsageError(
                f"{self.where} cannot be opened ({(error.strerror or 'unknown').lower()}); name a file in a folder that can be written"
            ) from None
        try:
            if not locked(handle, self._patience):
                raise UsageError(
                    f"{self.where} is being read or written by another process for more than {self._patience:g} seconds, which takes no time; "
                    "look for one that is stopped, or name a file on a disk of this machine"
                )
            yield handle
        except OSError as error:
            raise UsageError(
                f"{self.where} cannot be used ({(error.strerror or 'unknown').lower()}); name a file on a disk of this machine"
            ) from None
        finally:
            os.close(handle)
