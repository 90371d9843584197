"""A secret that somebody else keeps: in a file, read anew each time so that it can be exchanged while the controller runs, or in the environment."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from reconciler.errors import UsageError

_LONGEST = 65_536


class Secret:
    """Knows where a secret is. Its text never holds it."""

    def __init__(self, *, file: str = "", value: str = "", what: str = "secret") -> None:
        self._file = file
        self._value = value.strip()
        self._what = what

    def __bool__(self) -> bool:
        return bool(self._file or self._value)

    def __repr__(self) -> str:
        return f"Secret({self._file or ('***' if self._value else '')!r})"

    def read(self) -> str:
        """Return the secret, or nothing where none was given. Raises ``UsageError`` for a file that cannot be read or is empty."""
        if not self._file:
            return self._value
        try:
            text = Path(self._file).read_bytes()[:_LONGEST].decode().strip()
        except (OSError, ValueError):
            raise UsageError(f"the file of the {self._what}, {self._file}, cannot be read; name one that can") from None
        if not text:
            raise UsageError(f"the file of the {self._what}, {self._file}, is empty; put the {self._what} into it")
        return text


@dataclass(frozen=True, slots=True)
class Secrets:
    """What others must show before they are listened to."""

    control: Secret
    github: Secret
    gitlab: Secret
