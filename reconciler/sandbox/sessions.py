"""Live streams and past ones: rows in the sessions table.

A session with an end in the future is still live: that is how a stopped stream lingers for a
moment without any timer.
"""

# ruff: noqa: S608 - statements are composed of our own constants only; values are always bound

from __future__ import annotations

import json
from dataclasses import dataclass

from reconciler.sandbox.model import JsonDict
from reconciler.sandbox.world import World, decode_position, decode_token, encode_token, place, shuffled

_COLUMNS = "seq, stream_id, channel, started, ended, document"
_LIVE = "(ended IS NULL OR ended > ?)"
# How long sessions can be looked up (user guide: stream health).
KEPT_SECONDS = 60 * 86_400


@dataclass(frozen=True, slots=True)
class Session:
    """One stream session; `document` holds the snapshot at go-live, health and viewers."""

    seq: int
    stream_id: str
    channel: str
    started: float
    ended: float | None
    document: JsonDict

    def is_live(self, now: float) -> bool:
        """Whether the stream is on air at this instant."""
        return self.ended is None or self.ended > now


def live_session(world: World, channel: str) -> Session | None:
    """Return the stream a channel has on air now."""
    found = world.connection.execute(
        f"SELECT {_COLUMNS} FROM sessions WHERE channel = ? AND {_LIVE} ORDER BY seq DESC LIMIT 1",
        (channel, world.now),
    ).fetchone()
    return None if found is None else _session(found)


def session_of(world: World, channel: str, stream_id: str) -> Session | None:
    """One session of a channel, of the last 60 days; without an id the latest."""
    found = world.connection.execute(
        f"SELECT {_COLUMNS} FROM sessions WHERE channel = ? AND (? = '' OR stream_id = ?) AND {_LIVE} ORDER BY seq DESC LIMIT 1",
        (channel, stream_id, stream_id, world.now - KEPT_SECONDS),
    ).fetchone()
    return None if found is None else _session(found)


def count_live(world: World) -> int:
    """How many streams are on air in the account and region."""
    (count,) = world.connection.execute(
        f"SELECT count(*) FROM sessions WHERE account = ? AND region = ? AND {_LIVE}",
        (world.account, world.region, world.now),
    ).fetchone()
    return int(count)


def page_of_live(world: World, size: int, token: str, health: str, salt: int = 0) -> tuple[list[Session], str]:
    """Streams on air, oldest first, or shuffled by a salt."""
    listing = f"streams/{world.account}/{world.region}/{health}"
    after, salt = decode_position(token, listing) if token else (0, salt)
    found = world.connection.execute(
        f"SELECT {_COLUMNS} FROM sessions WHERE account = ? AND region = ? AND {_LIVE} AND {place(salt)} > ?"
        f" AND (? = '' OR json_extract(document, '$.health') = ?) ORDER BY {place(salt)} LIMIT ?",
        (world.account, world.region, world.now, after, health, health, size + 1),
    ).fetchall()
    return _page(found, size, listing, salt)


def page_of_channel(world: World, channel: str, size: int, token: str) -> tuple[list[Session], str]:
    """Sessions of a channel in the last 60 days, newest first."""
    listing = f"sessions/{channel}"
    before = decode_token(token, listing) or 1 << 62
    found = world.connection.execute(
        f"SELECT {_COLUMNS} FROM sessions WHERE channel = ? AND seq < ? AND {_LIVE} ORDER BY seq DESC LIMIT ?",
        (channel, before, world.now - KEPT_SECONDS, size + 1),
    ).fetchall()
    return _page(found, size, listing)


def insert(world: World, channel: str, stream_id: str, document: JsonDict) -> None:
    """Record that a stream starts now."""
    world.connection.execute(
        "INSERT INTO sessions (stream_id, channel, account, region, started, document) VALUES (?, ?, ?, ?, ?, ?)",
        (stream_id, channel, world.account, world.region, world.now, json.dumps(document)),
    )


def end(world: World, session: Session, at: float) -> None:
    """Record that the stream ends at an instant, which may lie ahead."""
    world.connection.execute("UPDATE sessions SET ended = ? WHERE seq = ?", (at, session.seq))


def change(world: World, session: Session, document: JsonDict) -> None:
    """Store a session's document anew."""
    world.connection.execute("UPDATE sessions SET document = ? WHERE seq = ?", (json.dumps(document), session.seq))


def _page(
    found: list[tuple[int, str, str, float, float | None, str]], size: int, listing: str, salt: int = 0
) -> tuple[list[Session], str]:
    rows = [_session(each) for each in found[:size]]
    return rows, encode_token(shuffled(rows[-1].seq, salt), listing, salt) if len(found) > size else ""


def _session(found: tuple[int, str, str, float, float | None, str]) -> Session:
    seq, stream_id, channel, started, ended, document = found
    return Session(seq, stream_id, channel, started, ended, json.loads(document))
