"""The part of the control operations that is about streams, which only broadcasters and viewers make."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

from reconciler.sandbox import live, sessions
from reconciler.sandbox.engine import Parts
from reconciler.sandbox.model import JsonDict
from reconciler.sandbox.sessions import Session
from reconciler.sandbox.world import Row, World

MAX_LIMIT = 1000


class ControlError(ValueError):
    """What was asked of the sandbox is not possible; the text says why."""


def counted(limit: int, most: int) -> int:
    """Return how many to answer."""
    if limit < 1:
        raise ControlError("a limit is 1 or more")
    return min(limit, most)


class StreamControl:
    """Start, starve, watch and end streams, in whichever account and region."""

    def __init__(self, parts: Parts) -> None:
        """Work on the state of one sandbox."""
        self._parts = parts

    def go_live(self, arn: str, viewers: int = 0, health: str = "HEALTHY") -> JsonDict:
        """Start a stream on a channel; answers its stream id."""
        return self._with_channel(
            arn,
            lambda world, channel: live.go_live(world, channel, self._parts.rng, viewers=viewers, health=health),
        )

    def go_offline(self, arn: str) -> JsonDict:
        """End a channel's stream at once, as if the broadcaster left."""

        def end(world: World, session: Session) -> None:
            live.end_stream(world, session, at=world.now)

        return self._with_session(arn, end)

    def set_health(self, arn: str, health: str) -> JsonDict:
        """Make a stream HEALTHY, STARVING or UNKNOWN."""
        return self._with_session(arn, lambda world, session: live.set_health(world, session, health))

    def set_viewers(self, arn: str, viewers: int) -> JsonDict:
        """Say how many watch a stream."""
        return self._with_session(arn, lambda world, session: live.set_viewers(world, session, viewers))

    def live(self) -> list[JsonDict]:
        """Return what is on air, in all accounts and regions."""
        found: list[JsonDict] = []
        with self._parts.store.transaction(write=False) as connection:
            for world in self._worlds(connection):
                here = World(connection, world["account"], world["region"], self._parts.clock.now())
                streams, _ = sessions.page_of_live(here, MAX_LIMIT, "", "")
                found += [
                    {
                        "channelArn": each.channel,
                        "streamId": each.stream_id,
                        "name": each.document["name"],
                        "health": each.document["health"],
                        "viewers": each.document["viewers"],
                        "startTime": each.started,
                    }
                    for each in streams
                ]
        return found

    def worlds(self) -> list[JsonDict]:
        """Return the accounts and regions that have held anything."""
        with self._parts.store.transaction(write=False) as connection:
            return self._worlds(connection)

    def _worlds(self, connection: sqlite3.Connection) -> list[JsonDict]:
        rows = connection.execute("SELECT account, region, sum(n) FROM counts GROUP BY account, region").fetchall()
        return [{"account": account, "region": region, "resources": n} for account, region, n in rows]

    def _writing(self) -> AbstractContextManager[Any]:
        return self._parts.store.transaction(write=True)

    def _with_channel(self, arn: str, work: Callable[[World, Row], JsonDict]) -> JsonDict:
        """Work on a channel in its own account and region, which its ARN names."""
        parts = arn.split(":")
        if len(parts) != 6 or not parts[5].startswith("channel/"):
            raise ControlError(f"{arn!r} is not a channel ARN")
        with self._writing() as connection:
            world = World(connection, parts[4], parts[3], self._parts.clock.now())
            channel = world.find(arn)
            if channel is None:
                raise ControlError(f"there is no channel {arn}")
            try:
                return work(world, channel)
            except live.NotPossibleError as error:
                refusal = ControlError(str(error))
        raise refusal

    def _with_session(self, arn: str, work: Callable[[World, Session], None]) -> JsonDict:
        def on_air(world: World, channel: Row) -> JsonDict:
            session = sessions.live_session(world, channel.arn)
            if session is None:
                raise live.NotPossibleError(f"channel {arn} is not live")
            work(world, session)
            return {"channelArn": arn, "streamId": session.stream_id}

        return self._with_channel(arn, on_air)
