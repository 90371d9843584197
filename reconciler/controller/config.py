"""The controller's options, their defaults, the settings file, and the windows in which it may apply.

The file belongs to the operator, not to the repository: a push must not be able to turn ``observe`` into ``apply``.
Transitions of daylight saving time are those of Debian's cron, which cronsim reproduces.
"""

from __future__ import annotations

import functools
import math
import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

from reconciler.controller.state import Mode
from reconciler.controller.webhooks import WEBHOOKS
from reconciler.errors import UsageError, imports_of, os_reason
from reconciler.git.git import scheme_of
from reconciler.model.target import LIMITS, Shards, parse_shard, seconds_of
from reconciler.spec.problems import KeyPath, Problems, format_path, quote, suggestion
from reconciler.spec.yaml import load
from reconciler.workflow.survey import default_at_once

_FORM = re.compile(r"(?P<cron>\S+(?: +\S+){4}) +for +(?P<duration>\S+)(?: +in +(?P<zone>\S+))?")
_EXAMPLE = "0 9 * * MON-FRI for 8h in Europe/Berlin"
_MAX_DAYS = 31
_MINUTE = 60


@dataclass(frozen=True, slots=True)
class Window:
    """One window. Times are seconds since the epoch; it opens and closes with a minute."""

    cron: str
    duration: str
    zone: str = "UTC"

    def __str__(self) -> str:
        return f"{self.cron} for {self.duration} in {self.zone}"

    def is_open(self, at: float) -> bool:
        """Return whether it is open."""
        return self.opens_after(at // _MINUTE * _MINUTE - seconds_of(self.duration, days=_MAX_DAYS)) <= at

    def opens_after(self, at: float) -> float:
        """Return when it opens next, or infinity."""
        return _next_start(self.cron, self.zone, int(at // _MINUTE))


@functools.lru_cache(maxsize=1_024)
def _next_start(cron: str, zone: str, minute: int) -> float:
    """Return the first start after a minute. Raises ``CronSimError`` for what is no cron expression."""
    from cronsim import CronSim  # noqa: PLC0415 - of the extra, and only for windows

    begin = minute * _MINUTE
    for start in CronSim(cron, datetime.fromtimestamp(begin, ZoneInfo(zone))):
        # When clocks go back, a start of the first of two equal hours comes after the begin of the second.
        if start.timestamp() > begin:
            return float(start.timestamp())
    return math.inf


def parse_window(value: object) -> Window:
    """Return a window from text such as ``0 9 * * MON-FRI for 8h in Europe/Berlin``; UTC without a zone. Raises ``ValueError``."""
    with imports_of("--window", "controller"):
        from cronsim import CronSimError  # noqa: PLC0415
    found = _FORM.fullmatch(value.strip()) if isinstance(value, str) else None
    if not found:
        raise ValueError(f'is not a window such as "{_EXAMPLE}"')
    try:
        seconds_of(found["duration"], days=_MAX_DAYS)
    except ValueError as error:
        raise ValueError(f"has {found['duration']!r}, which {error}") from None
    window = Window(" ".join(found["cron"].split()), found["duration"], found["zone"] or "UTC")
    try:
        first = window.opens_after(0)
    except CronSimError as error:
        raise ValueError(f"is not a cron expression of five fields: {str(error).lower()}") from None
    except (OSError, ValueError, KeyError):
        raise ValueError(f"names no time zone that this machine knows: {window.zone}") from None
    if math.isinf(first):
        raise ValueError("never opens")
    return window


_MAX_INTERVAL_DAYS = 366


@dataclass(frozen=True, slots=True)
class Options:
    """The options of the controller. Times in seconds."""

    url: str = ""
    branch: str = "main"
    path: str = ""
    username: str = "x-access-token"
    token_file: str = ""
    ssh_key: str = ""
    known_hosts: str = ""
    allowed_signers: str = ""
    state: str = "controller-state"
    listen: str = "127.0.0.1:8080"
    public_url: str = ""
    hosts: tuple[str, ...] = ()
    """Host names that are accepted besides those of ``listen`` and ``public_url``."""

    fetch_interval: float = 60
    interval: float = 600
    intervals: Mapping[str, float] = field(default_factory=dict)
    jitter: int = 10
    mode: Mode = Mode.OBSERVE
    modes: Mapping[str, Mode] = field(default_factory=dict)
    guardrails: Mapping[str, Any] = field(default_factory=dict)
    """Limits that the repository cannot raise, by attribute of ``Guardrails``."""

    windows: tuple[Window, ...] = ()
    """When targets may be applied; always if empty. Those of a target are used instead."""

    windows_of: Mapping[str, tuple[Window, ...]] = field(default_factory=dict)
    shard: Shards | None = None
    at_once: int = field(default_factory=default_at_once)
    keep_days: int = 30
    keep_runs: int = 5_000
    control_token_file: str = ""
    webhook_files: Mapping[str, str] = field(default_factory=dict)
    """The file of the credential, by forge."""

    pin: str = ""
    allowed_paths: tuple[str, ...] = ()
    allow_rewind: bool = False
    allow_new_stack: bool = False
    """Both only by option, for one start."""


def parse_duration(value: object) -> float:
    """Return seconds from ``90``, ``90s``, ``10m``, ``6h`` or ``1d``. Raises ``ValueError``."""
    return float(seconds_of(str(value), days=_MAX_INTERVAL_DAYS))


def parse_mode(value: object) -> Mode:
    """Return a mode. Raises ``ValueError``."""
    try:
        return Mode(str(value))
    except ValueError:
        raise ValueError(f"is not one of {', '.join(Mode)}") from None


def parse_shard_here(value: object) -> Shards:
    """Return a shard; ``auto`` reads the environment. Raises ``ValueError``."""
    return parse_shard(str(value), os.environ)


def parse_percent(value: object) -> int:
    """Return an integer from 0 to 90. Raises ``ValueError``."""
    return _integer(value, 0, 90)


def parse_count(value: object) -> int:
    """Return an integer of at least 1. Raises ``ValueError``."""
    return _integer(value, 1, 1_000_000)


def parse_limit(value: object) -> int:
    """Return the limit of a guardrail. Raises ``ValueError``."""
    return _integer(value, 0, 1_000_000)


def parse_percent_limit(value: object) -> int:
    """Return the limit of a guardrail in percent. Raises ``ValueError``."""
    return _integer(value, 0, 100)


def _integer(value: object, minimum: int, maximum: int) -> int:
    if (
        isinstance(value, bool)
        or not re.fullmatch("[0-9]{1,9}", str(value))
        or not minimum <= int(str(value)) <= maximum
    ):
        raise ValueError(f"is not an integer from {minimum} to {maximum:,}")
    return int(str(value))


def _text(value: object) -> str:
    if not isinstance(value, str) or not value:
        raise ValueError("is not a string")
    return value


def _texts(value: object) -> tuple[str, ...]:
    if not isinstance(value, list):
        raise ValueError("is not a list of strings")  # noqa: TRY004 - the reader reports it
    return tuple(map(_text, value))


def _windows(value: object) -> tuple[Window, ...]:
    if not isinstance(value, list):
        raise ValueError("is not a list of windows")  # noqa: TRY004 - the reader reports it
    windows = []
    for each in value:
        try:
            windows.append(parse_window(each))
        except ValueError as error:
            raise ValueError(f"has {quote(each)}, which {error}") from None
    return tuple(windows)


_Read = Callable[[object], Any]
_ANY = "<target>"
_FIELDS: Mapping[KeyPath, tuple[str, _Read]] = {
    ("repository", "url"): ("url", _text),
    ("repository", "branch"): ("branch", _text),
    ("repository", "path"): ("path", _text),
    ("repository", "username"): ("username", _text),
    ("repository", "tokenFile"): ("token_file", _text),
    ("repository", "sshKeyFile"): ("ssh_key", _text),
    ("repository", "knownHostsFile"): ("known_hosts", _text),
    ("repository", "allowedSignersFile"): ("allowed_signers", _text),
    ("state",): ("state", _text),
    ("pinFile",): ("pin", _text),
    ("allowPaths",): ("allowed_paths", _texts),
    ("listen",): ("listen", _text),
    ("publicUrl",): ("public_url", _text),
    ("allowHosts",): ("hosts", _texts),
    ("fetchInterval",): ("fetch_interval", parse_duration),
    ("interval",): ("interval", parse_duration),
    ("jitterPercent",): ("jitter", parse_percent),
    ("mode",): ("mode", parse_mode),
    ("targetsAtOnce",): ("at_once", parse_count),
    ("shard",): ("shard", parse_shard_here),
    ("retention", "days"): ("keep_days", parse_count),
    ("retention", "runs"): ("keep_runs", parse_count),
    ("controlTokenFile",): ("control_token_file", _text),
    **{("webhooks", hook.setting): (f"webhook_files.{hook.forge}", _text) for hook in WEBHOOKS},
    **{
        ("guardrails", name): (
            f"guardrails.{attribute}",
            parse_percent_limit if "percent" in attribute else parse_limit,
        )
        for name, attribute in LIMITS.items()
    },
    ("windows",): ("windows", _windows),
    ("targets", _ANY, "windows"): (f"windows_of.{_ANY}", _windows),
    ("targets", _ANY, "mode"): (f"modes.{_ANY}", parse_mode),
    ("targets", _ANY, "interval"): (f"intervals.{_ANY}", parse_duration),
}
"""The attribute and the reader of each setting; ``_ANY`` is the name of a target."""

READERS = {name: read for name, read in _FIELDS.values() if read is not _text}
"""How the settings that are not texts are read, by attribute."""

_PATHS = frozenset(
    {"state", "pin", "token_file", "ssh_key", "known_hosts", "allowed_signers", "control_token_file", "webhook_files"}
)


def read_options(path: Path) -> Options:
    """Return the options in a settings file. Paths are relative to its directory. Raises ``SpecError`` with all problems."""
    try:
        source = load(str(path), path.read_bytes())
    except OSError as error:
        raise UsageError(f"{path}: {os_reason(error)}; use --config-file with a settings file") from None
    problems = Problems()
    source.report(problems)
    problems.raise_any()
    raw = source.documents[0] if source.documents else None
    content = raw.get("controller") if isinstance(raw, dict) and len(raw) == 1 else None
    if not isinstance(content, dict):
        problems.add(str(path), None, "is not a controller settings file", "put the settings under controller:")
        problems.raise_any()
        content = {}
    reader = _Reader(problems, str(path), source.mark)
    found = reader.read(content)
    problems.raise_any()
    return with_values(Options(), found, path.parent)


def with_values(options: Options, found: Mapping[str, Any], folder: Path) -> Options:
    """Return options with other values, by attribute, or ``attribute.key`` for a mapping.

    Relative paths are relative to a directory; so is a repository that is a directory.
    """
    changes: dict[str, Any] = {}
    for place, value in found.items():
        name, is_member, key = place.partition(".")
        is_folder = name == "url" and scheme_of(value) == "file" and "://" not in value
        content = str((folder / value).absolute()) if name in _PATHS or is_folder else value
        if name == "allowed_paths":
            content = tuple(str((folder / each).absolute()) for each in value)
        changes[name] = {**changes.get(name, getattr(options, name)), key: content} if is_member else content
    return replace(options, **changes)


def _settings_below(pattern: KeyPath) -> list[str]:
    """Return the names of the settings in a section of the file; none if there is no such section."""
    depth = len(pattern)
    return list(dict.fromkeys(str(path[depth]) for path in _FIELDS if len(path) > depth and path[:depth] == pattern))


class _Reader:
    """Reads the fields of a settings file, and collects their problems."""

    def __init__(self, problems: Problems, name: str, mark: Callable[..., tuple[int, int]]) -> None:
        self._problems = problems
        self._name = name
        self._mark = mark
        self.found: dict[str, Any] = {}

    def read(self, content: Mapping[str, Any], section: KeyPath = ()) -> dict[str, Any]:
        """Return the fields that the file sets."""
        for key, value in content.items():
            path = (*section, str(key))
            pattern = ("targets", _ANY, *path[2:]) if section[:1] == ("targets",) else path
            if pattern in _FIELDS:
                name, read = _FIELDS[pattern]
                self._field(path, value, name.replace(_ANY, str(path[1])) if _ANY in pattern else name, read)
            elif not (inner := _settings_below(pattern)):
                self._unknown(path, _settings_below(pattern[:-1]))
            elif isinstance(value, dict):
                self.read(value, path)
            else:
                self._add_problem(path, "is not a mapping", f"known settings: {', '.join(inner)}", at_key=True)
        return self.found

    def _field(self, path: KeyPath, value: object, name: str, read: _Read) -> None:
        try:
            self.found[name] = read(value)
        except ValueError as error:
            self._add_problem(path, f"{quote(value)} {error}", "")

    def _unknown(self, path: KeyPath, known: list[str]) -> None:
        self._add_problem(
            path,
            "unknown setting",
            suggestion(str(path[-1]), known, otherwise=f"known settings: {', '.join(known)}"),
            at_key=True,
        )

    def _add_problem(self, path: KeyPath, what: str, hint: str, *, at_key: bool = False) -> None:
        full_path = ("controller", *path)
        self._problems.add(self._name, self._mark(full_path, at_key=at_key), f"{format_path(full_path)}: {what}", hint)
