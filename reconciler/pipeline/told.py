"""The memory of notifications as a file: what each channel was told last about each target.

The file holds names and digests, no property and no secret.
It is replaced as a whole, after every message; a lock beside it lets one run at a time tell.
A file that is no such memory is not overwritten: whoever named it is asked to name another.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import tempfile
from collections.abc import Iterator
from pathlib import Path

from reconciler.errors import UsageError
from reconciler.plan.news import NOTHING, Known

_FORMAT = "1.0"

PATIENCE_SECONDS = 120.0
"""How long a run waits for another that tells: messages take seconds, and one that is not sent is sent by the next run."""

_LONGEST_NAME = 200


class FileMemory:
    """What was told, of one stack, kept in one file."""

    def __init__(self, path: Path, stack: str) -> None:
        self._path = path
        self._stack = stack
        self._told = self._read()

    def known(self, channel: str, target: str, /) -> Known:
        """Return what the channel was told last."""
        return self._told.get((channel, target), NOTHING)

    def keep(self, channel: str, target: str, known: Known, /) -> None:
        """Remember what the channel was just told, on disk before this returns. Raises ``OSError``."""
        self._told[channel, target] = known
        told = [
            {"channel": one, "target": other, **state.to_json()} for (one, other), state in sorted(self._told.items())
        ]
        text = json.dumps({"formatVersion": _FORMAT, "stack": self._stack, "told": told}, indent=1) + "\n"
        handle, name = tempfile.mkstemp(dir=self._path.parent, prefix=f".{self._path.name}.")
        try:
            with os.fdopen(handle, "w", encoding="utf-8") as stream:
                stream.write(text)
                stream.flush()
                os.fsync(stream.fileno())
            Path(name).replace(self._path)
        except OSError:
            Path(name).unlink(missing_ok=True)
            raise

    def _read(self) -> dict[tuple[str, str], Known]:
        try:
            content = json.loads(self._path.read_text(encoding="utf-8"))
            if content["formatVersion"] != _FORMAT or content["stack"] != self._stack:
                raise UsageError(
                    f"{self._path}: keeps what was told of another stack, or by a newer version; name another file with --state"
                )
            return {(one["channel"], one["target"]): Known.from_json(one) for one in content["told"]}
        except FileNotFoundError:
            return {}
        except OSError as error:
            raise UsageError(
                f"{self._path}: cannot be read ({(error.strerror or 'unknown').lower()}); name another file with --state"
            ) from None
        except (ValueError, KeyError, TypeError):
            raise UsageError(
                f"{self._path}: does not keep what was told; name another file with --state, or remove it, and what stands is told once more"
            ) from None


@contextlib.contextmanager
def file_memory(path: Path, stack: str, *, patience: float = PATIENCE_SECONDS) -> Iterator[FileMemory]:
    """Open the memory for one run; another run waits until this one is done, and gives up after ``patience`` seconds.

    Raises ``UsageError`` where it cannot be kept, or another run does not come to its end.
    """
    from reconciler.pipeline.flock import locked  # noqa: PLC0415 - only those who notify lock anything

    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        lock = path.with_name(path.name + ".lock").open("a+", encoding="utf-8", errors="replace")
    except OSError as error:
        raise UsageError(
            f"{path}: cannot be kept there ({(error.strerror or 'unknown').lower()}); name another file with --state"
        ) from None
    with lock:
        if not locked(lock.fileno(), patience):
            lock.seek(0)
            holder = lock.read(_LONGEST_NAME).strip()
            raise UsageError(
                f"{path}: another run has been telling for more than {patience:g} seconds{f' ({holder})' if holder.isprintable() and holder else ''}; "
                "what stands is told by the next run; end that one if it is stuck"
            )
        with contextlib.suppress(OSError):  # a full disk: the lock holds all the same
            lock.truncate(0)
            lock.write(f"process {os.getpid()} on {socket.gethostname()}\n")
            lock.flush()
        yield FileMemory(path, stack)
