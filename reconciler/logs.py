"""Logs for operators, by structlog, on stderr; the report on stdout is the product and never goes through here.

Console lines on a terminal, JSON elsewhere. Values under secret-looking keys are masked as a last resort.
No handler is attached to the standard logging tree, so wire data that botocore and urllib3 log is not written.

Importing structlog takes 80 CPU milliseconds, a tenth of a plan of 5,000 channels, and most runs log nothing.
So it is imported at the first line that is written.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, MutableMapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, TextIO

from reconciler.terminal import display_json, is_colored, mask_stream_keys, sanitize


class Format(StrEnum):
    """How lines look; ``AUTO`` is console on a terminal and JSON elsewhere."""

    AUTO = "auto"
    CONSOLE = "console"
    JSON = "json"


MASK = "***"

_LEVELS = {"debug": 10, "info": 20, "warning": 30, "error": 40}
_SECRET_KEYS = frozenset({"authorization", "passphrase", "password", "secret", "value"})
_SECRET_PARTS = ("passphrase", "password", "secret", "token", "credential", "privatekey", "streamkeyvalue")


@dataclass(slots=True)
class _Settings:
    format: Format = Format.AUTO
    level: int = _LEVELS["warning"]
    stream: TextIO | None = None
    no_color: bool = False
    logger: Any = None  # structlog's, made at the first line


_SETTINGS = _Settings()


def configure(
    log_format: str | Format = Format.AUTO, verbosity: int = 0, *, no_color: bool = False, stream: TextIO | None = None
) -> None:
    """Choose the look and the level: warnings by default, ``-v`` adds info, ``-vv`` debug. ``stream`` is stderr unless given.

    Raises ``ValueError`` for an unknown format.
    """
    _SETTINGS.format = Format(log_format)
    _SETTINGS.level = _LEVELS[("warning", "info", "debug")[max(0, min(verbosity, 2))]]
    _SETTINGS.stream = stream
    _SETTINGS.no_color = no_color
    _SETTINGS.logger = None


class Log:
    """The log of one component, with the methods of a structlog logger: ``debug``, ``info``, ``warning``, ``error``."""

    __slots__ = ("_name",)

    def __init__(self, name: str) -> None:
        self._name = name

    def __getattr__(self, method: str) -> Callable[..., None]:
        if method not in _LEVELS:
            raise AttributeError(method)

        def write(event: str, **facts: object) -> None:
            if _LEVELS[method] < _SETTINGS.level:
                return
            if _SETTINGS.logger is None:
                _SETTINGS.logger = _structlog()
            # A full disk or a closed pipe behind stderr is no reason to stop work.
            with contextlib.suppress(OSError):
                getattr(_SETTINGS.logger, method)(event, component=self._name, **facts)

        return write


def get(name: str) -> Log:
    """Return the log of one component."""
    return Log(name)


def _structlog() -> Any:
    import structlog  # noqa: PLC0415 - see above

    stream = _SETTINGS.stream or sys.stderr
    console = _SETTINGS.format is Format.CONSOLE or (_SETTINGS.format is Format.AUTO and stream.isatty())
    last: list[Any] = (
        [_on_one_line, structlog.dev.ConsoleRenderer(colors=is_colored(stream) and not _SETTINGS.no_color)]
        if console
        else [structlog.processors.JSONRenderer(serializer=display_json)]
    )
    return structlog.wrap_logger(
        structlog.PrintLogger(stream),
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            _masked,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            *last,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(_SETTINGS.level),
    )


def _masked(_logger: object, _method: str, line: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    return {key: _mask(key, value) for key, value in line.items()}


def _mask(key: str, value: object) -> object:
    plain = key.lower().replace("_", "").replace("-", "")
    if plain in _SECRET_KEYS or any(part in plain for part in _SECRET_PARTS):
        return MASK
    if isinstance(value, dict):
        return {name: _mask(str(name), item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_mask(key, item) for item in value]
    return mask_stream_keys(value) if isinstance(value, str) else value


def _on_one_line(_logger: object, _method: str, line: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Escape text from elsewhere, so that it can neither move the cursor nor begin a line."""
    return {key: sanitize(value) if isinstance(value, str) else value for key, value in line.items()}
