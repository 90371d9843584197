"""Logs for operators, on stderr; the report on stdout is the product and never goes through here.

``get`` returns a light object that drops lines below the chosen level without having imported structlog.
structlog is loaded and set up at the first line that is really written.
Console lines on a terminal, JSON elsewhere.
Only this program's own lines are written.
No handler is attached to the standard logging tree, so what boto3 and urllib3 log about wire data reaches nothing of ours.
Values under secret-looking keys are masked as a last net; nothing should come that far.
"""

from __future__ import annotations

import contextlib
import sys
import threading
from collections.abc import Iterator, MutableMapping
from contextvars import ContextVar
from dataclasses import dataclass
from enum import IntEnum, StrEnum
from typing import Any, TextIO


class Format(StrEnum):
    """How lines look; ``AUTO`` is console on a terminal and JSON elsewhere."""

    AUTO = "auto"
    CONSOLE = "console"
    JSON = "json"


class Level(IntEnum):
    """How much a line matters; numbers as in the standard library."""

    DEBUG = 10
    INFO = 20
    WARNING = 30
    ERROR = 40


MASK = "***"

_SECRET_KEYS = frozenset({"authorization", "passphrase", "password", "secret", "value"})
_SECRET_PARTS = ("passphrase", "password", "secret", "token", "credential", "privatekey", "streamkeyvalue")


@dataclass(slots=True)
class _Settings:
    format: Format = Format.AUTO
    level: Level = Level.WARNING
    stream: TextIO | None = None
    writer: Any = None  # a structlog logger, made at the first line


_SETTINGS = _Settings()
_BOUND: ContextVar[tuple[tuple[str, object], ...]] = ContextVar("facts of every line", default=())
_LOCK = threading.Lock()


def configure(log_format: str | Format = Format.AUTO, verbosity: int = 0, *, stream: TextIO | None = None) -> None:
    """Choose the look and the level: warnings by default, ``-v`` adds info, ``-vv`` debug. ``stream`` is stderr unless given.

    Raises ``ValueError`` for an unknown format.
    """
    with _LOCK:
        _SETTINGS.format = Format(log_format)
        _SETTINGS.level = (Level.WARNING, Level.INFO, Level.DEBUG)[max(0, min(verbosity, 2))]
        _SETTINGS.stream = stream
        _SETTINGS.writer = None


class Log:
    """Writes lines that carry the name of the room they come from. An event is a few words; facts are keywords."""

    __slots__ = ("_name",)

    def __init__(self, name: str) -> None:
        self._name = name

    def debug(self, event: str, **facts: object) -> None:
        """Write what helps to find a fault in this program."""
        self._write(Level.DEBUG, event, facts)

    def info(self, event: str, **facts: object) -> None:
        """Write what an operator wants to follow."""
        self._write(Level.INFO, event, facts)

    def warning(self, event: str, **facts: object) -> None:
        """Write what somebody should look at."""
        self._write(Level.WARNING, event, facts)

    def error(self, event: str, **facts: object) -> None:
        """Write what failed."""
        self._write(Level.ERROR, event, facts)

    def _write(self, level: Level, event: str, facts: dict[str, object]) -> None:
        if level < _SETTINGS.level:
            return
        with _LOCK:
            if _SETTINGS.writer is None:
                _SETTINGS.writer = _open()
            # Every level goes through one method: the level is chosen above and travels as a value.
            # A line that cannot be written, because a disk is full or a reader gone, is no reason to stop work.
            with contextlib.suppress(OSError):
                _SETTINGS.writer.msg(
                    event, level=level.name.lower(), room=self._name, **{**dict(_BOUND.get()), **facts}
                )


def get(name: str) -> Log:
    """Return the log of one room."""
    return Log(name)


@contextlib.contextmanager
def bound(**facts: object) -> Iterator[None]:
    """Add facts to every line that is written inside the ``with``, such as the plan that a step belongs to. A line's own facts win."""
    token = _BOUND.set((*_BOUND.get(), *facts.items()))
    try:
        yield
    finally:
        _BOUND.reset(token)


def masked(_logger: object, _method: str, line: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Replace values under secret-looking keys, at any depth (a structlog processor)."""
    return {key: _mask(key, value) for key, value in line.items()}


def _mask(key: str, value: object) -> object:
    plain = key.lower().replace("_", "").replace("-", "")
    if plain in _SECRET_KEYS or any(part in plain for part in _SECRET_PARTS):
        return MASK
    if isinstance(value, dict):
        return {name: _mask(str(name), item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_mask(key, item) for item in value]
    return value


def _shown(_logger: object, _method: str, line: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Keep what others wrote from moving a terminal's cursor or beginning a line of its own (a structlog processor)."""
    from reconciler.terminal import harmless  # noqa: PLC0415  # likewise

    return {key: harmless(value) if isinstance(value, str) else value for key, value in line.items()}


def _open() -> Any:  # a structlog logger
    """Set up structlog for the chosen look and return its logger."""
    import structlog  # noqa: PLC0415  # dear to import, and most runs write no line

    from reconciler.terminal import shown_json  # noqa: PLC0415  # likewise

    stream = _SETTINGS.stream or sys.stderr
    console = _SETTINGS.format is Format.CONSOLE or (_SETTINGS.format is Format.AUTO and stream.isatty())
    last: list[Any] = (
        [_shown, structlog.dev.ConsoleRenderer(colors=stream.isatty())]
        if console
        else [structlog.processors.JSONRenderer(serializer=shown_json)]
    )
    return structlog.wrap_logger(
        structlog.PrintLogger(stream),
        processors=[masked, structlog.processors.TimeStamper(fmt="iso", utc=True), *last],
        wrapper_class=structlog.BoundLogger,
        cache_logger_on_first_use=False,
    )
