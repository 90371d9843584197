"""The controller's database: targets, runs and plans, kept between restarts. SQLite, one file, no secrets.

The controller that locks the state directory writes it. The command line beside it reads it, and records suspensions and
requests. A kill at any moment leaves the last complete transaction.
"""

from __future__ import annotations

import contextlib
import json
import os
import sqlite3
import threading
import zlib
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

from reconciler.controller.state import (
    Inventory,
    Mode,
    Place,
    Run,
    RunStatus,
    TargetState,
    accept_hint,
    detail_json,
    members_json,
    read_detail,
    read_inventory,
    read_result,
)
from reconciler.drift import DriftStatus
from reconciler.errors import ReconcilerError, UsageError
from reconciler.plan.codec import lines, read_plan
from reconciler.plan.plan import ApplyResult, Plan

FORMAT_VERSION = 4
"""Recorded in the file; a file with another version is not used."""

DAY = 86_400.0

_SCHEMA = """
CREATE TABLE targets (
  name TEXT PRIMARY KEY, due REAL NOT NULL DEFAULT 0, failures INTEGER NOT NULL DEFAULT 0,
  suspended INTEGER NOT NULL DEFAULT 0, requested INTEGER NOT NULL DEFAULT 0,
  last_success REAL NOT NULL DEFAULT 0, commit_id TEXT NOT NULL DEFAULT '', last_run INTEGER, last_read INTEGER, detail BLOB,
  place TEXT NOT NULL DEFAULT '', accepted TEXT NOT NULL DEFAULT ''
);
CREATE TABLE runs (
  id INTEGER PRIMARY KEY, target TEXT NOT NULL, mode TEXT NOT NULL, "commit" TEXT NOT NULL, started REAL NOT NULL, seconds REAL NOT NULL,
  status TEXT NOT NULL, message TEXT NOT NULL, plan_id TEXT NOT NULL, account_id TEXT NOT NULL, region TEXT NOT NULL, counts TEXT NOT NULL,
  drifted INTEGER NOT NULL, pending INTEGER NOT NULL, managed INTEGER NOT NULL, unchanged INTEGER NOT NULL, unmanaged INTEGER NOT NULL,
  calls INTEGER NOT NULL, done INTEGER NOT NULL, blocked_by_live INTEGER NOT NULL, account_read INTEGER NOT NULL, result BLOB
);
CREATE INDEX runs_by_target ON runs (target, started);
CREATE TABLE plans (id TEXT PRIMARY KEY, target TEXT NOT NULL, made REAL NOT NULL, seen REAL NOT NULL, body BLOB NOT NULL);
CREATE TABLE notes (key TEXT PRIMARY KEY, value TEXT NOT NULL);
"""
_INVENTORIES = "CREATE TABLE IF NOT EXISTS inventories (target TEXT PRIMARY KEY, body BLOB NOT NULL)"
"""Beside the schema, because files of version 3 without it are used too. Read for one page at a time, not kept in memory."""

_SUSPENSIONS = "CREATE TABLE IF NOT EXISTS suspensions (place TEXT PRIMARY KEY)"
"""Where suspended targets are or were. A target that a commit puts there is suspended too, until a target there is resumed."""

_KEPT = 50
"""Plans, and full results of applies, to keep for each target: they may be large, and only the newest are read."""

_COLUMNS = (
    "target", "mode", "commit", "started", "seconds", "status", "message", "plan_id", "account_id", "region", "counts", "drifted", "pending",
    "managed", "unchanged", "unmanaged", "calls", "done", "blocked_by_live", "account_read",
)  # fmt: skip
"""The columns of a run, named as in ``Run``."""

_COUNTED = frozenset({"drifted", "pending"})
"""Properties of ``Run``, written for ``history``."""

_RUN = ", ".join(f'"{name}"' for name in ("id", *_COLUMNS))


class StoreError(ReconcilerError):
    """The database cannot be read or written, such as on a full disk, or is ``damaged``."""

    def __init__(self, message: str, *, damaged: bool = False) -> None:
        self.damaged = damaged
        super().__init__(message)


class Flags(NamedTuple):
    """What people decided about a target."""

    suspended: bool = False
    requested: bool = False
    accepted: Place | None = None


class Store:
    """The database. Thread-safe. ``keep_days``, and ``keep_runs`` for each target, limit what is kept.

    Raises ``UsageError`` for a file that it cannot use; its methods raise ``StoreError``.
    """

    def __init__(self, path: Path, *, keep_days: float = 30, keep_runs: int = 5_000) -> None:
        self._keep = (keep_days * DAY, keep_runs)
        self._lock = threading.Lock()
        # SQLite reports what it cannot open. A file that exists is not opened here: closing it would release the locks
        # that SQLite holds on it in this process.
        with contextlib.suppress(OSError):
            os.close(os.open(path.resolve(), os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
        # SQLite gives its other files the permissions of this one.
        for own in (path, *(path.with_name(path.name + end) for end in ("-wal", "-shm"))):
            with contextlib.suppress(OSError):  # another user's file keeps its permissions
                own.chmod(0o600)
        try:
            with contextlib.ExitStack() as opened:
                self._db = sqlite3.connect(path, timeout=30, isolation_level=None, check_same_thread=False)
                opened.callback(self._db.close)
                self._db.row_factory = sqlite3.Row
                self._db.execute("PRAGMA journal_mode=WAL")
                self._db.execute("PRAGMA synchronous=FULL")
                self._prepare(path)
                opened.pop_all()
        except sqlite3.DatabaseError as error:
            raise UsageError(
                f"cannot use the state file {path}: {error}; use another directory (--state), or move this file away"
            ) from None

    def _prepare(self, path: Path) -> None:
        (version,) = self._db.execute("PRAGMA user_version").fetchone()
        if version not in (0, FORMAT_VERSION):
            raise UsageError(
                f"the state file {path} has format {version}, and this version reads {FORMAT_VERSION}; use another directory (--state)"
            )
        (state,) = self._db.execute("PRAGMA quick_check(1)").fetchone()
        if state != "ok":
            raise sqlite3.DatabaseError("it is damaged")
        if version == 0:
            with contextlib.suppress(sqlite3.OperationalError):  # another process created it at the same time
                self._db.executescript(f"BEGIN IMMEDIATE;{_SCHEMA}PRAGMA user_version={FORMAT_VERSION};COMMIT;")
        self._db.execute(_INVENTORIES)
        self._db.execute(_SUSPENSIONS)

    def close(self) -> None:
        """Write everything to the file and close it."""
        with self._lock:
            self._db.close()

    @contextlib.contextmanager
    def _writing(self) -> Iterator[sqlite3.Connection]:
        with self._lock:
            try:
                self._db.execute("BEGIN IMMEDIATE")
                yield self._db
                self._db.execute("COMMIT")
            except sqlite3.Error as error:
                raise StoreError(f"cannot write the state: {error}", damaged=_is_damage(error)) from error
            finally:
                with contextlib.suppress(sqlite3.Error):
                    if self._db.in_transaction:
                        self._db.execute("ROLLBACK")

    def _rows(self, query: str, *values: object) -> list[sqlite3.Row]:
        with self._lock:
            try:
                return self._db.execute(query, values).fetchall()
            except sqlite3.Error as error:
                raise StoreError(f"cannot read the state: {error}", damaged=_is_damage(error)) from error

    def states(self, names: Iterable[str]) -> dict[str, TargetState]:
        """Return the states of targets, in the given order. An unknown target is due at once."""
        ids = "SELECT last_run FROM targets UNION SELECT last_read FROM targets"
        with _decoding():
            runs = {row["id"]: _run(row) for row in self._rows(f"SELECT {_RUN} FROM runs WHERE id IN ({ids})")}  # noqa: S608
            found = {row["name"]: _state(row, runs) for row in self._rows("SELECT * FROM targets")}
        return {name: found.get(name, TargetState(name)) for name in names}

    def flags(self) -> Mapping[str, Flags]:
        """Return what people decided about each target."""
        rows = self._rows("SELECT name, suspended, requested, accepted FROM targets")
        with _decoding():
            return {
                row["name"]: Flags(bool(row["suspended"]), bool(row["requested"]), Place.from_json(row["accepted"]))
                for row in rows
            }

    def move(self, places: Mapping[str, Place], *, accept: Collection[str] = ()) -> None:
        """Record where a commit puts its targets; for those to ``accept``, the operator's modes hold there.

        A suspension stays with the name and with the account and region: a commit cannot lift it by renaming or moving targets.
        """
        with self._writing() as db:
            rows = db.execute("SELECT name, place, accepted, suspended FROM targets").fetchall()
            known = {row["name"]: _place(row["place"]) for row in rows}
            accepted = {row["name"]: _place(row["accepted"]) for row in rows}
            suspended = {row["name"] for row in rows if row["suspended"]}
            held = [*_suspended_places(db), *filter(None, (known[name] for name in suspended))]
            for name, place in places.items():
                _set(db, name, "place", _with_account(place, known.get(name)).to_json())
                if name in accept:
                    _set(db, name, "accepted", _with_account(place, accepted.get(name)).to_json())
                if name in suspended or any(old.is_location_of(place) for old in held):
                    _set(db, name, "suspended", True)
                    held.append(_with_account(place, known.get(name)))
            for place in held:
                _suspend_place(db, place)

    def accept(self, name: str, check: str = "") -> Place | None:
        """Let the operator's mode hold where a target is, request a reconciliation, and return the place; ``None`` if it is unknown.

        Raises ``UsageError`` if a ``check`` is not of that place: it was moved since the operator saw it.
        """
        with self._writing() as db:
            row = db.execute("SELECT place FROM targets WHERE name = ?", (name,)).fetchone()
            place = _place(row["place"]) if row else None
            if place is not None:
                if check and not place.is_seen_as(check):
                    raise UsageError(
                        f"{name} is no longer where {name}@{check} was: it is in {place}; {accept_hint(name, place)}"
                    )
                _set(db, name, "accepted", place.to_json())
                _set(db, name, "requested", True)
        return place

    def suspend(self, name: str, *, suspended: bool) -> None:
        """Suspend a target, or resume it and request a reconciliation."""
        with self._writing() as db:
            _set(db, name, "suspended", suspended)
            row = db.execute("SELECT place FROM targets WHERE name = ?", (name,)).fetchone()
            place = _place(row["place"])
            if suspended and place:
                _suspend_place(db, place)
            if not suspended:
                _set(db, name, "requested", True)
                _resume_place(db, name, place)

    def request(self, name: str, *, requested: bool = True) -> None:
        """Request a reconciliation as soon as possible, or clear the request once it started."""
        with self._writing() as db:
            _set(db, name, "requested", requested)

    def add_run(self, state: TargetState, run: Run, place: Place | None = None) -> int:
        """Save a run, its plan, and the state of the target after it, in one transaction; return the number of the run.

        ``place`` is where the run found the target. A mode that holds for an unknown account holds for the one that was read there.
        """
        cells = {name: getattr(run, name) for name in _COLUMNS}
        cells |= {
            "message": _clean(run.message),
            "counts": json.dumps(run.counts),
            "result": _packed([members_json(run.result)]) if run.result else None,
        }
        with self._writing() as db:
            if run.plan is not None:
                db.execute(
                    "INSERT INTO plans VALUES (?, ?, ?, ?, ?) ON CONFLICT (id) DO UPDATE SET seen = excluded.seen",
                    (run.plan_id, run.target, run.started, run.started, _packed(lines(run.plan))),
                )
            places = ", ".join("?" * len(cells))
            number = db.execute(f"INSERT INTO runs VALUES (NULL, {places})", tuple(cells.values())).lastrowid  # noqa: S608
            # Suspensions and requests are made by people, and written where they are made.
            db.execute(
                "INSERT INTO targets (name, due, failures, last_success, commit_id) VALUES (?, ?, ?, ?, ?) ON CONFLICT (name) DO UPDATE SET "
                "due = excluded.due, failures = excluded.failures, last_success = excluded.last_success, commit_id = excluded.commit_id",
                (state.name, state.due, state.failures, state.last_success, state.commit),
            )
            db.execute("UPDATE targets SET last_run = ? WHERE name = ?", (number, run.target))
            if run.account_read:
                db.execute(
                    "UPDATE targets SET last_read = ?, detail = ? WHERE name = ?",
                    (number, _packed([detail_json(run)]), run.target),
                )
                if place and run.account_id:
                    _add_account(db, run, place)
            if run.inventory is not None:
                db.execute(
                    "INSERT INTO inventories VALUES (?, ?) ON CONFLICT (target) DO UPDATE SET body = excluded.body "
                    "WHERE body <> excluded.body",
                    (run.target, _packed([members_json(run.inventory)])),
                )
            self._delete_old(db, run)
        return int(number or 0)

    def _delete_old(self, db: sqlite3.Connection, run: Run) -> None:
        """Delete runs, plans and results beyond the limits; the newest run of every target stays."""
        days, count = self._keep
        latest = "id NOT IN (SELECT ifnull(last_run, 0) FROM targets UNION SELECT ifnull(last_read, 0) FROM targets)"
        db.execute(f"DELETE FROM runs WHERE started < ? AND {latest}", (run.started - days,))  # noqa: S608
        beyond = "id <= (SELECT id FROM runs WHERE target = ? ORDER BY id DESC LIMIT 1 OFFSET ?)"
        db.execute(f"DELETE FROM runs WHERE target = ? AND {beyond} AND {latest}", (run.target, run.target, count))  # noqa: S608
        db.execute(
            "DELETE FROM plans WHERE target = ? AND NOT EXISTS (SELECT 1 FROM runs WHERE runs.plan_id = plans.id)",
            (run.target,),
        )
        newest = "SELECT id FROM plans WHERE target = ? ORDER BY seen DESC, rowid DESC LIMIT ?"
        db.execute(f"DELETE FROM plans WHERE target = ? AND id NOT IN ({newest})", (run.target, run.target, _KEPT))  # noqa: S608
        newest = "SELECT id FROM runs WHERE target = ? AND result IS NOT NULL ORDER BY id DESC LIMIT ?"
        db.execute(
            f"UPDATE runs SET result = NULL WHERE target = ? AND result IS NOT NULL AND id NOT IN ({newest})",  # noqa: S608
            (run.target, run.target, _KEPT),
        )

    def runs(self, target: str, limit: int = 50) -> list[tuple[int, Run]]:
        """Return the numbers and runs of a target, the newest first."""
        query = f"SELECT {_RUN} FROM runs WHERE target = ? ORDER BY id DESC LIMIT ?"  # noqa: S608
        with _decoding():
            return [(row["id"], _run(row)) for row in self._rows(query, target, limit)]

    def run(self, target: str, number: int) -> tuple[Run, ApplyResult | None] | None:
        """Return a run and the result of its apply, or ``None`` for a number that is not a run of the target."""
        rows = self._rows(f"SELECT {_RUN}, result FROM runs WHERE target = ? AND id = ?", target, number)  # noqa: S608
        if not rows:
            return None
        packed = rows[0]["result"]
        with _decoding():
            return _run(rows[0]), read_result(_unpacked(packed)) if packed else None

    def inventory(self, target: str) -> Inventory | None:
        """Return the resources that the newest run with a read account found, or ``None`` before the first."""
        rows = self._rows("SELECT body FROM inventories WHERE target = ?", target)
        with _decoding():
            return read_inventory(_unpacked(rows[0]["body"])) if rows else None

    def history(
        self, target: str, since: float, until: float, steps: int
    ) -> list[tuple[float, int | None, int | None]]:
        """Return start, highest drifted and highest pending count of each of ``steps`` equal spans with a run.

        The counts are ``None`` where the account could not be read. The last run before ``since`` holds at ``since``.
        """
        width = (until - since) / steps
        counts = "MAX(CASE WHEN account_read THEN drifted END) AS drifted, MAX(CASE WHEN account_read THEN pending END) AS pending"
        query = (
            f"SELECT CAST((started - ?) / ? AS INTEGER) AS span, {counts} FROM runs "  # noqa: S608
            "WHERE target = ? AND started >= ? AND started < ? GROUP BY span ORDER BY span"
        )
        rows = self._rows(query, since, width, target, since, until)
        if not rows or rows[0]["span"]:
            last = "SELECT * FROM runs WHERE target = ? AND started < ? ORDER BY started DESC LIMIT 1"
            rows = self._rows(f"SELECT 0 AS span, {counts} FROM ({last}) HAVING count(*)", target, since) + rows  # noqa: S608
        return [(since + row["span"] * width, row["drifted"], row["pending"]) for row in rows]

    def began(self, target: str) -> float | None:
        """Return when the oldest kept run of a target started, or ``None`` without one."""
        return self._rows("SELECT MIN(started) AS began FROM runs WHERE target = ?", target)[0]["began"]  # type: ignore[no-any-return]

    def plan(self, target: str, plan_id: str) -> Plan | None:
        """Return a plan of a target by its fingerprint, or ``None`` if it is not kept."""
        rows = self._rows("SELECT body FROM plans WHERE target = ? AND id = ?", target, plan_id)
        with _decoding():
            return read_plan([_unpacked(rows[0]["body"])]) if rows else None

    def note(self, key: str) -> str:
        """Return a note, or an empty string."""
        rows = self._rows("SELECT value FROM notes WHERE key = ?", key)
        return str(rows[0]["value"]) if rows else ""

    def write_note(self, key: str, value: str) -> None:
        """Write a note, replacing an earlier one."""
        with self._writing() as db:
            db.execute(
                "INSERT INTO notes VALUES (?, ?) ON CONFLICT (key) DO UPDATE SET value = excluded.value", (key, value)
            )


def _place(text: str) -> Place | None:
    with _decoding():
        return Place.from_json(text)


def _with_account(place: Place, before: Place | None) -> Place:
    """Return a place with the account that was known there before, if it names none."""
    return replace(place, account=place.account or before.account) if before and before.admits(place) else place


def _set(db: sqlite3.Connection, name: str, column: str, value: object) -> None:
    upsert = f"INSERT INTO targets (name, {column}) VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET {column} = excluded.{column}"  # noqa: S608
    db.execute(upsert, (name, value))


def _suspended_places(db: sqlite3.Connection) -> list[Place]:
    return [place for row in db.execute("SELECT place FROM suspensions") if (place := _place(row["place"]))]


def _suspend_place(db: sqlite3.Connection, place: Place) -> None:
    db.execute("INSERT OR IGNORE INTO suspensions (place) VALUES (?)", (place.to_json(),))


def _resume_place(db: sqlite3.Connection, name: str, place: Place | None) -> None:
    """Forget that the place of a resumed target was suspended, under this name and under those that commits gave it before."""
    if place is None:
        return
    for held in _suspended_places(db):
        if held.is_location_of(place):
            db.execute("DELETE FROM suspensions WHERE place = ?", (held.to_json(),))
    for row in db.execute("SELECT name, place FROM targets WHERE suspended AND name <> ?", (name,)).fetchall():
        former = _place(row["place"])
        if former and former.is_location_of(place):
            _set(db, row["name"], "suspended", False)


def _add_account(db: sqlite3.Connection, run: Run, place: Place) -> None:
    """Record the account that a run read. The place follows it, so that it can be accepted; what was accepted does not."""
    (row,) = db.execute("SELECT place, accepted FROM targets WHERE name = ?", (run.target,)).fetchall()
    for column in ("place", "accepted"):
        known = _place(row[column])
        is_unknown = known and not (known.account and (column == "accepted" or place.account))
        if known and is_unknown and replace(known, account="").admits(place):
            _set(db, run.target, column, replace(known, account=run.account_id).to_json())
    for held in _suspended_places(db):
        if not held.account and held.admits(place):
            _suspend_place(db, replace(held, account=run.account_id))


def _state(row: sqlite3.Row, runs: Mapping[int, Run]) -> TargetState:
    last_run, last_read = runs.get(row["last_run"]), runs.get(row["last_read"])
    if last_read and row["detail"]:
        findings, live_channels = read_detail(_unpacked(row["detail"]))
        last_read = replace(last_read, findings=findings, live_channels=live_channels)
        if row["last_run"] == row["last_read"]:
            last_run = last_read
    return TargetState(
        row["name"],
        row["due"],
        row["failures"],
        bool(row["suspended"]),
        bool(row["requested"]),
        row["last_success"],
        row["commit_id"],
        last_run,
        last_read,
        Place.from_json(row["place"]),
        Place.from_json(row["accepted"]),
    )


def _run(row: sqlite3.Row) -> Run:
    cells: dict[str, Any] = {name: row[name] for name in _COLUMNS if name not in _COUNTED}
    cells |= {
        "mode": Mode(row["mode"]),
        "status": RunStatus(row["status"]),
        "counts": {DriftStatus(status): count for status, count in json.loads(row["counts"]).items()},
        "account_read": bool(row["account_read"]),
    }
    return Run(**cells)


_UNREADABLE = (ValueError, KeyError, TypeError, zlib.error)
"""What reading a row raises whose content was changed by something else."""


@contextlib.contextmanager
def _decoding() -> Iterator[None]:
    try:
        yield
    except _UNREADABLE as error:
        raise StoreError(f"cannot read the state: a row is damaged ({type(error).__name__})", damaged=True) from error


def _is_damage(error: Exception) -> bool:
    # A full disk or a lock is an OperationalError.
    return not isinstance(error, sqlite3.OperationalError)


def _clean(text: str) -> str:
    """Return text that SQLite can store: JSON may contain half a surrogate pair, which is no character."""
    return text.encode("utf-8", "backslashreplace").decode()


def _packed(parts: Iterable[str]) -> bytes:
    packer = zlib.compressobj(6)
    return b"".join([*(packer.compress(part.encode("utf-8", "surrogatepass")) for part in parts), packer.flush()])


def _unpacked(packed: bytes) -> str:
    return zlib.decompress(packed).decode("utf-8", "surrogatepass")
