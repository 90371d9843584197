"""The state: one SQLite database, in memory or in a file, without a cache.

Every request is one transaction, so a write is in the file before its answer is sent, and several processes can open
one file. The file holds an application id and a format number; newer formats are refused.
"""

# ruff: noqa: S608 - statements are composed of constants; values are bound

from __future__ import annotations

import contextlib
import errno
import os
import sqlite3
import threading
import time
from pathlib import Path
from types import TracebackType

FOLDER = ".sandbox"
APPLICATION_ID = 0x49565342
FORMAT = 2
BUSY_SECONDS = 20.0

_SCHEMA = """
CREATE TABLE settings (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE resources (
  seq INTEGER PRIMARY KEY AUTOINCREMENT,
  account TEXT NOT NULL, region TEXT NOT NULL, kind TEXT NOT NULL,
  arn TEXT NOT NULL UNIQUE, name TEXT NOT NULL, parent TEXT,
  visible_from REAL NOT NULL, gone_from REAL,
  document TEXT NOT NULL
);
CREATE INDEX resources_by_kind ON resources (account, region, kind, seq);
CREATE INDEX resources_by_name ON resources (account, region, kind, name, seq);
CREATE INDEX resources_by_parent ON resources (parent, seq) WHERE parent IS NOT NULL;
CREATE INDEX resources_gone ON resources (gone_from) WHERE gone_from IS NOT NULL;
CREATE TABLE links (
  target TEXT NOT NULL, seq INTEGER NOT NULL, PRIMARY KEY (target, seq)
) WITHOUT ROWID;
CREATE INDEX links_by_seq ON links (seq);
CREATE TABLE counts (
  account TEXT NOT NULL, region TEXT NOT NULL, kind TEXT NOT NULL, n INTEGER NOT NULL,
  PRIMARY KEY (account, region, kind)
) WITHOUT ROWID;
CREATE TABLE sessions (
  seq INTEGER PRIMARY KEY AUTOINCREMENT,
  stream_id TEXT NOT NULL UNIQUE, channel TEXT NOT NULL,
  account TEXT NOT NULL, region TEXT NOT NULL,
  started REAL NOT NULL, ended REAL,
  document TEXT NOT NULL
);
CREATE INDEX sessions_by_channel ON sessions (channel, seq);
CREATE INDEX sessions_by_end ON sessions (account, region, ended, seq);
CREATE TABLE events (
  seq INTEGER PRIMARY KEY AUTOINCREMENT,
  time REAL NOT NULL, account TEXT NOT NULL, region TEXT NOT NULL, channel TEXT NOT NULL,
  document TEXT NOT NULL
);
CREATE INDEX events_by_channel ON events (channel, seq);
CREATE TABLE calls (
  seq INTEGER PRIMARY KEY AUTOINCREMENT,
  time REAL NOT NULL, account TEXT NOT NULL, region TEXT NOT NULL,
  operation TEXT NOT NULL, document TEXT NOT NULL
);
"""
# What each format adds to the previous one.
_MIGRATIONS = {
    2: """
CREATE TABLE buckets (
  account TEXT NOT NULL, region TEXT NOT NULL, operation TEXT NOT NULL,
  tokens REAL NOT NULL, at REAL NOT NULL,
  PRIMARY KEY (account, region, operation)
) WITHOUT ROWID;
"""
}


class StoreError(RuntimeError):
    """The file cannot be used as the sandbox's database."""


class Transaction:
    """A context manager for one transaction; a generator would take longer than a small transaction."""

    __slots__ = ("_begin", "_connection", "_lock")

    def __init__(self, connection: sqlite3.Connection, lock: threading.RLock, begin: str) -> None:
        """Take the connection, its lock and the statement that begins ("" for none)."""
        self._connection, self._lock, self._begin = connection, lock, begin

    def __enter__(self) -> sqlite3.Connection:
        """Wait for other transactions, and begin."""
        self._lock.acquire()
        try:
            if self._begin:
                self._connection.execute(self._begin)
        except BaseException:
            self._lock.release()
            raise
        return self._connection

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Commit, or roll back after an error, also one of the commit."""
        connection = self._connection
        try:
            if kind is None and self._begin:
                connection.execute("COMMIT")
        finally:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            self._lock.release()


class Store:
    """One open database; a process runs one transaction at a time."""

    def __init__(self, path: str | os.PathLike[str] | None = None, *, create: bool = True) -> None:
        """Open the file, or create it: at once, or with `create` false before the first write. None is in memory.

        Raises StoreError.
        """
        self.path = None if path is None else Path(path)
        self._lock = threading.RLock()
        self._begin_read = "BEGIN" if self.path else ""
        self.is_created = self.path is None or create or self.path.exists()
        self._connection = self._open(self.path if self.is_created else None)
        self._replaced: list[sqlite3.Connection] = []

    def close(self) -> None:
        """Close the database."""
        with self._lock:
            for connection in (self._connection, *self._replaced):
                connection.close()

    def transaction(self, *, write: bool) -> Transaction:
        """Return a transaction; an exception inside rolls it back.

        A read in memory begins none: the lock keeps out other writers.
        """
        if not self.is_created and (write or (self.path is not None and self.path.exists())):
            self._create()
        return Transaction(self._connection, self._lock, "BEGIN IMMEDIATE" if write else self._begin_read)

    def _create(self) -> None:
        """Use the file from now on. The empty database in memory stays open for reads that have begun."""
        with self._lock:
            if not self.is_created:
                connection = self._open(self.path)
                self._replaced.append(self._connection)
                self._connection = connection
                self.is_created = True

    def clear(self) -> None:
        """Delete all resources, sessions, events, calls and settings."""
        with self.transaction(write=True) as connection:
            for table in ("settings", "resources", "links", "counts", "sessions", "events", "calls", "buckets"):
                connection.execute(f"DELETE FROM {table}")

    def _open(self, path: Path | None) -> sqlite3.Connection:
        target = ":memory:"
        if path is not None:
            target = str(path)
            self._prepare_file(path)
        connection = sqlite3.connect(target, timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=False)
        try:
            self._set_up(connection, in_memory=path is None)
        except sqlite3.DatabaseError as error:
            connection.close()
            raise StoreError(f"{target}: not usable as a sandbox database ({error})") from error
        except StoreError:
            connection.close()
            raise
        return connection

    @staticmethod
    def _prepare_file(path: Path) -> None:
        """Create the file, readable by its owner only: it holds stream keys. A new folder for it is ignored by git."""
        folder = path.parent
        try:
            ours = not folder.exists() or folder.name == FOLDER
            folder.mkdir(parents=True, exist_ok=True)
            # One that exists is not opened: closing it would release the locks that SQLite holds on it in this process.
            with contextlib.suppress(FileExistsError):
                os.close(os.open(path.resolve(), os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))
            if path.is_dir():
                raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
            if not os.access(path, os.R_OK | os.W_OK):
                raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
        except OSError as error:
            raise StoreError(f"{path}: cannot be opened ({error.strerror})") from error
        if ours:
            with contextlib.suppress(OSError), (folder / ".gitignore").open("x", encoding="utf-8") as stream:
                stream.write("*\n")

    def _set_up(self, connection: sqlite3.Connection, *, in_memory: bool) -> None:
        # Before any change: the file may belong to another program.
        self._refuse_unknown(connection)
        if in_memory:
            # In memory SQLite searches all pages when it splits one: larger pages keep creates fast.
            connection.execute("PRAGMA page_size = 8192")
        else:
            _use_write_ahead_log(connection)
        connection.execute("BEGIN IMMEDIATE")
        try:
            self._check_or_create(connection)
            connection.execute("COMMIT")
        except BaseException:
            connection.execute("ROLLBACK")
            raise

    def _check_or_create(self, connection: sqlite3.Connection) -> None:
        version = self._refuse_unknown(connection)
        if version is None:
            _execute(connection, _SCHEMA)
            connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
            version = 1
        for step in range(version + 1, FORMAT + 1):
            _execute(connection, _MIGRATIONS[step])
            connection.execute(f"PRAGMA user_version = {step}")

    def _refuse_unknown(self, connection: sqlite3.Connection) -> int | None:
        """Return the format of the file, None if it is empty.

        Raises StoreError for databases of other programs and newer formats.
        """
        (tables,) = connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()
        (application,) = connection.execute("PRAGMA application_id").fetchone()
        (version,) = connection.execute("PRAGMA user_version").fetchone()
        if not tables and application in (0, APPLICATION_ID):
            return None
        if application != APPLICATION_ID or version < 1:
            raise StoreError(f"{self.path}: not a database of the sandbox")
        if version > FORMAT:
            raise StoreError(
                f"{self.path}: written by a newer sandbox (format {version}, this one supports up to {FORMAT}); update ivs-reconciler or use another file"
            )
        return int(version)


def _execute(connection: sqlite3.Connection, statements: str) -> None:
    for statement in statements.split(";\n"):
        connection.execute(statement)


def _use_write_ahead_log(connection: sqlite3.Connection) -> None:
    """Switch to write-ahead logging: readers run beside a writer, and `kill -9` loses no committed data.

    The switch needs exclusive access, for which SQLite itself does not wait.
    """
    deadline = time.monotonic() + BUSY_SECONDS
    while True:
        try:
            connection.execute("PRAGMA journal_mode = WAL")
            break
        except sqlite3.OperationalError as error:
            if "locked" not in str(error) or time.monotonic() > deadline:
                raise
            time.sleep(0.02)
    connection.execute("PRAGMA synchronous = NORMAL")
