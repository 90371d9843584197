"""Events on their way out: followed by server-sent events, or posted to a URL as they come.

Both read the log by position, so they also carry what another process on the same file logs.
"""

from __future__ import annotations

import json
import logging
import sqlite3
import threading
from collections.abc import Iterator
from urllib.parse import urlsplit

from reconciler.sandbox import events
from reconciler.sandbox.model import JsonDict
from reconciler.sandbox.settings import Clock
from reconciler.sandbox.store import Store
from reconciler.sandbox.wire import Request, Response, position

log = logging.getLogger("reconciler.sandbox")

STREAM_PATH = "/_sandbox/events/stream"
POLL_SECONDS = 0.2
BEAT_SECONDS = 5.0
BATCH = 100
POST_TIMEOUT = 5.0


def follow(store: Store, clock: Clock, request: Request, stopping: threading.Event) -> Response:
    """Answer with the events from now on (or after the browser's last one), without end."""
    last = position(request.headers.get("last-event-id", ""))
    start = last_position(store) if last is None else last
    return Response(
        200,
        (("Content-Type", "text/event-stream"), ("Cache-Control", "no-store")),
        stream=_parts(store, clock, start, stopping),
    )


def last_position(store: Store) -> int:
    """Return where the log ends now."""
    with store.transaction(write=False) as connection:
        return events.last_position(connection)


def pending(store: Store, clock: Clock, start: int) -> list[tuple[int, JsonDict]]:
    """Return the next events of the log whose time has come.

    One that was logged ahead of its time holds back those logged after it, so that none is skipped.
    """
    with store.transaction(write=False) as connection:
        return events.after(connection, start, clock.now(), BATCH)


def _parts(store: Store, clock: Clock, start: int, stopping: threading.Event) -> Iterator[bytes]:
    yield b"retry: 1000\n\n"
    quiet = 0.0
    while not stopping.is_set():
        found = pending(store, clock, start)
        for reached, event in found:
            start = reached
            yield f"id: {reached}\nevent: {event['detail-type']}\ndata: {json.dumps(event)}\n\n".encode()
        if found:
            quiet = 0.0
            continue
        stopping.wait(POLL_SECONDS)
        quiet += POLL_SECONDS
        if quiet >= BEAT_SECONDS:
            quiet = 0.0
            # A comment, so that a client that has gone is noticed.
            yield b": still here\n\n"


def _refuse_bad_url(url: str) -> None:
    """Refuse at once what no event could ever be posted to."""
    import http.client

    try:
        parts = urlsplit(url)
        possible = parts.scheme in ("http", "https") and bool(parts.hostname)
        http.client.HTTPConnection(parts.hostname or "", parts.port)
    except (ValueError, http.client.InvalidURL):
        possible = False
    if not possible:
        raise ValueError(f"events can be posted to http and https URLs only, not to {url!r}")


class Poster:
    """A thread that posts each event to a URL as JSON; what fails is tried again three times."""

    def __init__(self, store: Store, clock: Clock, url: str) -> None:
        """Post what is logged from now on."""
        _refuse_bad_url(url)
        self._store, self._clock, self._url = store, clock, url
        self._position = last_position(store)
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True, name="ivs-sandbox-events")
        self._thread.start()

    def stop(self) -> None:
        """Post what has come so far, then end."""
        self._stopping.set()
        self._thread.join(2 * POST_TIMEOUT)

    def _run(self) -> None:
        while not self._stopping.wait(POLL_SECONDS):
            self._post_pending()
        self._post_pending()

    def _post_pending(self) -> None:
        try:
            found = pending(self._store, self._clock, self._position)
        except sqlite3.Error as error:
            log.warning("events cannot be read: %s", error)
            return
        for reached, event in found:
            self._position = reached
            self._post(event)

    def _post(self, event: JsonDict) -> None:
        # Only where events are posted: a server is ready a tenth sooner without.
        import http.client
        import urllib.request

        request = urllib.request.Request(  # noqa: S310 - the scheme was checked
            self._url,
            json.dumps(event).encode(),
            {"Content-Type": "application/json"},
        )
        for attempt in range(3):
            try:
                with urllib.request.urlopen(request, timeout=POST_TIMEOUT):  # noqa: S310
                    return
            except (OSError, http.client.HTTPException) as error:
                log.warning("event not delivered (attempt %d): %s", attempt + 1, type(error).__name__)
                self._stopping.wait(POLL_SECONDS * 2**attempt)
