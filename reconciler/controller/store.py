"""What the controller keeps between restarts: how each target stands, its runs, its plans. SQLite, one file, no secret in it.

Written by the one controller that holds the folder; read and, for suspending and asking, also written by the command line beside it.
A kill at any moment leaves the last whole transaction.
"""

from __future__ import annotations

import contextlib
import json
import sqlite3
import threading
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

from reconciler.controller.state import (
    Ending,
    Mode,
    Run,
    TargetState,
    detail_json,
    read_detail,
    read_result,
    result_json,
)
from reconciler.drift.report import Standing
from reconciler.errors import ReconcilerError, UsageError
from reconciler.plan.codec import dumps, from_json
from reconciler.plan.plan import ApplyResult, Plan

FORMAT_VERSION = 1
"""Kept in the file; a program that does not know it leaves the file alone."""

DAY = 86_400.0

_SCHEMA = """
CREATE TABLE targets (
  name TEXT PRIMARY KEY, due REAL NOT NULL DEFAULT 0, failures INTEGER NOT NULL DEFAULT 0,
  suspended INTEGER NOT NULL DEFAULT 0, asked INTEGER NOT NULL DEFAULT 0,
  last_success REAL NOT NULL DEFAULT 0, commit_id TEXT NOT NULL DEFAULT '', last_run INTEGER, known_run INTEGER, detail BLOB
);
CREATE TABLE runs (
  id INTEGER PRIMARY KEY, target TEXT NOT NULL, mode TEXT NOT NULL, commit_id TEXT NOT NULL, started REAL NOT NULL, seconds REAL NOT NULL,
  ending TEXT NOT NULL, message TEXT NOT NULL, plan_id TEXT NOT NULL, account TEXT NOT NULL, region TEXT NOT NULL, counts TEXT NOT NULL,
  drifted INTEGER NOT NULL, pending INTEGER NOT NULL, managed INTEGER NOT NULL, unchanged INTEGER NOT NULL, foreigners INTEGER NOT NULL,
  calls INTEGER NOT NULL, done INTEGER NOT NULL, on_air INTEGER NOT NULL, waiting INTEGER NOT NULL, looked INTEGER NOT NULL, result BLOB
);
CREATE INDEX runs_by_target ON runs (target, started);
CREATE TABLE plans (id TEXT PRIMARY KEY, target TEXT NOT NULL, made REAL NOT NULL, seen REAL NOT NULL, body BLOB NOT NULL);
CREATE TABLE notes (key TEXT PRIMARY KEY, value TEXT NOT NULL);
"""
_PLANS = 50
"""Plans of a target that are kept, and ends of applies in full: they may be large, and only the newest are looked at."""

_RUN = (
    "id, target, mode, commit_id, started, seconds, ending, message, plan_id, account, region, counts, managed, unchanged, foreigners, "
    "calls, done, waiting, looked"
)


class Store:
    """The file. Safe to share between threads; ``keep_days`` and ``keep_runs`` (for each target) bound what is kept."""

    def __init__(self, path: Path, *, keep_days: float = 30, keep_runs: int = 5_000) -> None:
        self._keep = (keep_days * DAY, keep_runs)
        self._lock = threading.Lock()
        try:
            self._db = sqlite3.connect(path, timeout=30, isolation_level=None, check_same_thread=False)
            self._db.execute("PRAGMA journal_mode=WAL")
            self._db.execute("PRAGMA synchronous=FULL")
            self._prepare(path)
        except sqlite3.DatabaseError as error:
            raise UsageError(
                f"the state file {path} cannot be used: {error}; name another folder, or move this file away"
            ) from None

    def _prepare(self, path: Path) -> None:
        (version,) = self._db.execute("PRAGMA user_version").fetchone()
        if version not in (0, FORMAT_VERSION):
            raise UsageError(
                f"the state file {path} is of format {version}, and this program knows {FORMAT_VERSION}; use a newer program, or another folder"
            )
        if version == 0:
            with contextlib.suppress(sqlite3.OperationalError):  # another process made it in this very moment
                self._db.executescript(f"BEGIN IMMEDIATE;{_SCHEMA}PRAGMA user_version={FORMAT_VERSION};COMMIT;")

    def close(self) -> None:
        """Write everything to the one file and let go of it."""
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
                with contextlib.suppress(sqlite3.Error):
                    self._db.execute("ROLLBACK")
                raise StoreError(f"the state cannot be kept: {error}") from error

    def _rows(self, question: str, *values: object) -> list[tuple[object, ...]]:
        with self._lock:
            try:
                return self._db.execute(question, values).fetchall()
            except sqlite3.Error as error:
                raise StoreError(f"the state cannot be read: {error}") from error

    def states(self, names: Iterator[str] | tuple[str, ...]) -> dict[str, TargetState]:
        """Return how these targets stand, in the order given; one never seen before is due at once."""
        rows = self._rows(
            "SELECT name, due, failures, suspended, asked, last_success, commit_id, detail, last_run, known_run FROM targets"
        )
        latest = "SELECT last_run FROM targets UNION SELECT known_run FROM targets"
        runs = {row[0]: _run(row) for row in self._rows(f"SELECT {_RUN} FROM runs WHERE id IN ({latest})")}  # noqa: S608
        found = {str(row[0]): _state(row, runs) for row in rows}
        return {name: found.get(name, TargetState(name)) for name in names}

    def flags(self) -> Mapping[str, tuple[bool, bool]]:
        """Return for each target whether it is suspended and whether somebody asked for a look."""
        return {
            str(name): (bool(suspended), bool(asked))
            for name, suspended, asked in self._rows("SELECT name, suspended, asked FROM targets")
        }

    def suspend(self, name: str, *, suspended: bool) -> None:
        """Stop looking at a target, or go on with it at once."""
        with self._writing() as db:
            db.execute(
                "INSERT INTO targets (name, suspended) VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET suspended = excluded.suspended",
                (name, suspended),
            )
            if not suspended:
                db.execute("UPDATE targets SET asked = 1 WHERE name = ?", (name,))

    def ask(self, name: str, *, asked: bool = True) -> None:
        """Want a look at a target as soon as may be, or note that it has begun."""
        with self._writing() as db:
            db.execute(
                "INSERT INTO targets (name, asked) VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET asked = excluded.asked",
                (name, asked),
            )

    def put(self, state: TargetState) -> None:
        """Keep when a target is due; what it looked like last stays."""
        with self._writing() as db:
            _put(db, state)

    def add(self, state: TargetState, run: Run) -> int:
        """Keep a run, its plan, and how the target stands after it, in one transaction; returns the number of the run."""
        cells = (
            run.target, run.mode.value, run.commit, run.started, run.seconds, run.ending.value, _clean(run.message), run.plan_id, run.account_id, run.region,
            json.dumps({standing.value: count for standing, count in run.counts.items()}), run.drifted, run.pending, run.managed, run.unchanged,
            run.unmanaged, run.calls, run.done, len(run.on_air), run.waiting_on_air, run.looked, _packed(result_json(run.result)) if run.result else None,
        )  # fmt: skip
        with self._writing() as db:
            if run.plan is not None:
                db.execute(
                    "INSERT INTO plans VALUES (?, ?, ?, ?, ?) ON CONFLICT (id) DO UPDATE SET seen = excluded.seen",
                    (run.plan_id, run.target, run.started, run.started, _packed(dumps(run.plan))),
                )
            number = db.execute(f"INSERT INTO runs VALUES (NULL, {', '.join('?' * len(cells))})", cells).lastrowid  # noqa: S608
            _put(db, state)
            db.execute("UPDATE targets SET last_run = ? WHERE name = ?", (number, run.target))
            if run.looked:
                db.execute(
                    "UPDATE targets SET known_run = ?, detail = ? WHERE name = ?",
                    (number, _packed(detail_json(run)), run.target),
                )
            self._forget(db, run)
        return int(number or 0)

    def _forget(self, db: sqlite3.Connection, run: Run) -> None:
        """Drop what is older or more than is to be kept; the newest run of every target stays."""
        days, count = self._keep
        latest = "id NOT IN (SELECT ifnull(last_run, 0) FROM targets UNION SELECT ifnull(known_run, 0) FROM targets)"
        db.execute(f"DELETE FROM runs WHERE started < ? AND {latest}", (run.started - days,))  # noqa: S608
        beyond = "id <= (SELECT id FROM runs WHERE target = ? ORDER BY id DESC LIMIT 1 OFFSET ?)"
        db.execute(f"DELETE FROM runs WHERE target = ? AND {beyond} AND {latest}", (run.target, run.target, count))  # noqa: S608
        db.execute(
            "DELETE FROM plans WHERE target = ? AND NOT EXISTS (SELECT 1 FROM runs WHERE runs.plan_id = plans.id)",
            (run.target,),
        )
        newest = "SELECT id FROM plans WHERE target = ? ORDER BY seen DESC, rowid DESC LIMIT ?"
        db.execute(f"DELETE FROM plans WHERE target = ? AND id NOT IN ({newest})", (run.target, run.target, _PLANS))  # noqa: S608
        newest = "SELECT id FROM runs WHERE target = ? AND result IS NOT NULL ORDER BY id DESC LIMIT ?"
        db.execute(
            f"UPDATE runs SET result = NULL WHERE target = ? AND result IS NOT NULL AND id NOT IN ({newest})",  # noqa: S608
            (run.target, run.target, _PLANS),
        )

    def runs(self, target: str, limit: int = 50) -> list[tuple[int, Run]]:
        """Return a target's runs, the newest first, with their numbers."""
        question = f"SELECT {_RUN} FROM runs WHERE target = ? ORDER BY id DESC LIMIT ?"  # noqa: S608
        return [(_int(row[0]), _run(row)) for row in self._rows(question, target, limit)]

    def run(self, target: str, number: int) -> tuple[Run, ApplyResult | None] | None:
        """Return one run of a target with the end of its apply, or ``None``."""
        rows = self._rows(f"SELECT {_RUN}, result FROM runs WHERE target = ? AND id = ?", target, number)  # noqa: S608
        if not rows:
            return None
        packed = rows[0][-1]
        return _run(rows[0]), read_result(target, _unpacked(packed)) if isinstance(packed, bytes) else None

    def history(self, target: str, since: float, until: float, steps: int) -> list[tuple[float, int, int]]:
        """Return the most resources drifted and pending in each of ``steps`` equal spans that had a look: the span's start, and both counts."""
        width = (until - since) / steps
        question = (
            "SELECT CAST((started - ?) / ? AS INTEGER) AS span, MAX(drifted), MAX(pending) FROM runs "
            "WHERE target = ? AND looked = 1 AND started >= ? AND started < ? GROUP BY span ORDER BY span"
        )
        return [
            (since + _int(span) * width, _int(drifted), _int(pending))
            for span, drifted, pending in self._rows(question, since, width, target, since, until)
        ]

    def plan(self, target: str, plan_id: str) -> Plan | None:
        """Return a plan of a target by its fingerprint, or ``None`` when it is not kept (any more)."""
        rows = self._rows("SELECT body FROM plans WHERE target = ? AND id = ?", target, plan_id)
        if not rows or not isinstance(rows[0][0], bytes):
            return None
        return from_json(json.loads(_unpacked(rows[0][0])))

    def note(self, key: str) -> str:
        """Return a note that somebody keeps here, or nothing."""
        rows = self._rows("SELECT value FROM notes WHERE key = ?", key)
        return str(rows[0][0]) if rows else ""

    def write_note(self, key: str, value: str) -> None:
        """Keep a note."""
        with self._writing() as db:
            db.execute(
                "INSERT INTO notes VALUES (?, ?) ON CONFLICT (key) DO UPDATE SET value = excluded.value", (key, value)
            )


class StoreError(ReconcilerError):
    """The state cannot be read or written, such as on a full disk."""


def _put(db: sqlite3.Connection, state: TargetState) -> None:
    """Write what the controller alone decides; suspending and asking belong to people and are written by themselves."""
    db.execute(
        "INSERT INTO targets (name, due, failures, last_success, commit_id) VALUES (?, ?, ?, ?, ?) ON CONFLICT (name) DO UPDATE SET "
        "due = excluded.due, failures = excluded.failures, last_success = excluded.last_success, commit_id = excluded.commit_id",
        (state.name, state.due, state.failures, state.last_success, state.commit),
    )


def _state(row: tuple[object, ...], runs: Mapping[object, Run]) -> TargetState:
    name, due, failures, suspended, asked, success, commit, packed, last, known_run = row
    state = TargetState(
        str(name),
        _float(due),
        _int(failures),
        bool(suspended),
        bool(asked),
        _float(success),
        str(commit),
        runs.get(last),
    )
    known = runs.get(known_run)
    if known is None or not isinstance(packed, bytes):
        return state
    findings, on_air = read_detail(_unpacked(packed))
    known = replace(known, findings=findings, on_air=on_air)
    return replace(state, known=known, last=known if last == known_run else state.last)


def _run(row: tuple[object, ...]) -> Run:
    (
        _,
        target,
        mode,
        commit,
        started,
        seconds,
        ending,
        message,
        plan_id,
        account,
        region,
        counts,
        managed,
        unchanged,
        unmanaged,
        calls,
        done,
        waiting,
        looked,
    ) = row[:19]
    return Run(
        str(target), Mode(str(mode)), str(commit), _float(started), Ending(str(ending)), _float(seconds), str(message), str(plan_id), str(account), str(region),
        {Standing(standing): count for standing, count in json.loads(str(counts)).items()}, _int(managed), _int(unchanged), _int(unmanaged), _int(calls),
        _int(done), _int(waiting), looked=bool(looked),
    )  # fmt: skip


def _clean(text: str) -> str:
    """Return text that can be stored: half a surrogate pair, which JSON can bring, is no character."""
    return text.encode("utf-8", "backslashreplace").decode()


def _packed(text: str) -> bytes:
    return zlib.compress(text.encode("utf-8", "surrogatepass"), 6)


def _unpacked(packed: bytes) -> str:
    return zlib.decompress(packed).decode("utf-8", "surrogatepass")


def _int(value: object) -> int:
    return value if isinstance(value, int) else 0


def _float(value: object) -> float:
    return float(value) if isinstance(value, int | float) else 0.0
