"""Notifications after a look: what each channel was told last is kept in the store, so that nothing is told twice, restarts included."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from urllib.parse import quote

from reconciler.gitops.store import Store, StoreError
from reconciler.model.target import Project
from reconciler.pipeline.notify import Look, Telling, tell
from reconciler.plan.drift import DriftReport
from reconciler.plan.news import NOTHING, Known


class StoreMemory:
    """What was told of one stack, kept as notes in the store."""

    def __init__(self, store: Store, stack: str) -> None:
        self._store = store
        self._stack = stack

    def known(self, channel: str, target: str, /) -> Known:
        """Return what the channel was told last."""
        text = self._store.note(self._key(channel, target))
        return Known.from_json(json.loads(text)) if text else NOTHING

    def keep(self, channel: str, target: str, known: Known, /) -> None:
        """Remember what the channel was just told. Raises ``OSError``."""
        try:
            self._store.write_note(self._key(channel, target), json.dumps(known.to_json()))
        except StoreError as error:
            raise OSError(str(error)) from None

    def _key(self, channel: str, target: str) -> str:
        return json.dumps(["told", self._stack, channel, target])


class Teller:
    """Tells the channels that a project names. ``pages`` is where people find the status page; messages link to it."""

    def __init__(
        self,
        store: Store,
        environment: Mapping[str, str],
        counted: Callable[[str, Telling], None],
        *,
        now: Callable[[], float],
        sleep: Callable[[float], None],
        pages: str = "",
    ) -> None:
        self._store = store
        self._environment = environment
        self._counted = counted
        self._now = now
        self._sleep = sleep
        self._pages = pages.rstrip("/")

    def __call__(self, project: Project, look: Look) -> None:
        """Tell what is new about one target. A channel that fails is told the next time."""
        name = look.name if isinstance(look, DriftReport) else look.target.name
        tellings = tell(
            project.notifications,
            project.stack,
            (look,),
            StoreMemory(self._store, project.stack),
            environment=self._environment,
            link=f"{self._pages}/targets/{quote(name, safe='')}" if self._pages else "",
            sleep=self._sleep,
            now=lambda: datetime.fromtimestamp(self._now(), UTC),
        )
        for telling in tellings:
            self._counted(project.stack, telling)
