"""Progress of an apply: a block of lines for each target in the project's order, and on a terminal one bar for all."""

from __future__ import annotations

import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Self, TextIO, cast

from reconciler.apply import ActionFinished, Event, Forecast, StepWaiting
from reconciler.plan.plan import ApplyResult, Outcome, Result
from reconciler.report.text import Paint, render_result
from reconciler.report.words import duration_words, end_words, tally_words
from reconciler.terminal import fitted, sanitize, write_fitted

if TYPE_CHECKING:
    from types import TracebackType

    from rich.console import RenderableType
    from rich.progress import Progress

_MARKS = {
    Result.DONE: ("done", "good"),
    Result.FAILED: ("failed", "bad"),
    Result.SKIPPED: ("skipped", "change"),
    Result.BLOCKED: ("blocked", "note"),
}


_FORECAST_INTERVAL_SECONDS = 60.0
"""How often a log gets a line about what is left; a bar shows it all the time."""

_MIN_FORECAST_SECONDS = 10.0

_LONG_WAIT_SECONDS = 5.0
"""How long a step waits before a line says why."""


def local_now() -> datetime:
    """Return the wall clock, with its zone."""
    return datetime.now(UTC).astimezone()


def forecast_words(forecast: Forecast, now: datetime) -> str:
    """Return which operation limits the rate, how many of its calls are left, and when they end."""
    coming = forecast.expected
    return f"{coming.calls:,} {coming.operation} left at {coming.pace:.3g}/s, {end_words(coming.seconds, now)}"


class Waits:
    """Says what an apply waits for: a live channel at once, anything else after a few seconds; once a step."""

    def __init__(self) -> None:
        self._lasted: dict[str, float] = {}

    def words(self, event: Event) -> str | None:
        """Return the line for an event, or ``None``."""
        if not isinstance(event, StepWaiting):
            return None
        if event.operation == "ListStreams":
            return sanitize(f"{event.address}: {event.why}; at most {duration_words(event.seconds)}")
        before = self._lasted.get(event.step, 0.0)
        self._lasted[event.step] = before + event.seconds
        return (
            sanitize(f"{event.address}: {event.operation}: {event.why}")
            if before < _LONG_WAIT_SECONDS <= self._lasted[event.step]
            else None
        )


class Lines:
    """A line for each finished action, and one a minute about what is left."""

    def __init__(self, write: Callable[[str], object], paint: Paint, now: Callable[[], datetime] = local_now) -> None:
        self._write = write
        self._paint = paint
        self._now = now
        self._waits = Waits()
        self._forecast_at = -_FORECAST_INTERVAL_SECONDS

    def event(self, event: Event) -> None:
        """Handle one event."""
        if isinstance(event, ActionFinished):
            if (
                event.outcome.result is not Result.SKIPPED
            ):  # the report has one line for all that were skipped for one reason
                self._write(self._line(event.outcome))
        elif (words := self._waits.words(event)) is not None:
            self._write(f"  {self._paint('waiting', 'note')}  {words}\n")
        elif (
            isinstance(event, Forecast)
            and event.elapsed - self._forecast_at >= _FORECAST_INTERVAL_SECONDS
            and event.expected.seconds >= _MIN_FORECAST_SECONDS
        ):
            self._forecast_at = event.elapsed
            self._write(f"  {self._paint(forecast_words(event, self._now()), 'dim')}\n")

    def _line(self, outcome: Outcome) -> str:
        word, tone = _MARKS[outcome.result]
        message = f": {outcome.message}" if outcome.message else ""
        return f"  {self._paint(word, tone)}  {sanitize(f'{outcome.verb.value} {outcome.address}{message}')}\n"


class Screen:
    """The apply of these targets, in their order, on a terminal or in a log. Thread-safe.

    The first target that has not ended is shown as it goes; what the targets after it say is kept until it is their turn.
    ``actions`` has the number of actions of each target.
    """

    def __init__(self, paint: Paint, actions: Mapping[str, int]) -> None:
        self._paint = paint
        self._actions = actions
        self._turns = deque(actions)
        self._kept: dict[str, list[str]] = {name: [] for name in actions}
        self._ended: set[str] = set()
        self._lock = threading.Lock()
        self._bar: Bar | None = None
        # A bar replaces sys.stdout by a stream to its own terminal.
        self._stdout = sys.stdout

    def __enter__(self) -> Self:
        """Show a bar if stderr is a terminal."""
        if sys.stderr.isatty():
            self._bar = Bar(self._actions, sys.stderr)
            self._bar.progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Erase the bar, and show what was kept: after an interrupt, of targets that did not come to their end."""
        with self._lock:
            if self._bar is not None:
                self._bar.progress.stop()
                self._bar = None
            for name in self._turns:
                self._show("".join(self._kept.pop(name)))
            self._turns.clear()

    @contextmanager
    def observe(self, name: str, actions: int) -> Iterator[Callable[[Event], None]]:
        """Yield a function that shows the events of one target."""
        del actions
        self._write(name, f"\nApplying to {name}\n")
        lines = Lines(lambda text: self._write(name, text), self._paint)

        def handle(event: Event) -> None:
            bar = self._bar
            if bar is not None:
                bar.event(name, event)
            # When a target's turn comes, what was expected before is of no interest.
            if not isinstance(event, Forecast) or (bar is None and self._turns and self._turns[0] == name):
                lines.event(event)

        yield handle

    def finished(self, result: ApplyResult) -> None:
        """Show the report of one target, and after it what the next ones said meanwhile."""
        self._write(result.name, "\n" + render_result(result, paint=self._paint))
        with self._lock:
            if self._bar is not None:
                self._bar.finished(result)
            self._ended.add(result.name)
            while self._turns and self._turns[0] in self._ended:
                self._kept.pop(self._turns.popleft())
                if self._turns:
                    self._show("".join(self._kept[self._turns[0]]))
                    self._kept[self._turns[0]].clear()

    def _write(self, name: str, text: str) -> None:
        with self._lock:
            if self._turns and self._turns[0] == name:
                self._show(text)
            elif name in self._kept:
                self._kept[name].append(text)

    def _show(self, text: str) -> None:
        if not text:
            return
        if self._bar is not None and self._stdout.isatty():
            self._bar.print(text)
        else:
            write_fitted(text, self._stdout)
            self._stdout.flush()


class Bar:
    """A progress bar for the actions of all targets; above it, for several, how many targets are done, failed and left."""

    def __init__(self, actions: Mapping[str, int], stream: TextIO) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
        from rich.text import Text

        several = len(actions) > 1
        head = self._head

        class WithHead(Progress):
            def get_renderables(self) -> Iterator[RenderableType]:
                if several:
                    yield Text(head(sum(task.completed for task in self.tasks)))
                yield from super().get_renderables()

        self._targets = len(actions)
        self._done = self._failed = 0
        self._total = sum(actions.values())
        self._ends: dict[str, float] = {}
        self._began = time.monotonic()
        self.progress: Progress = WithHead(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("{task.fields[forecast]}"),
            console=Console(file=stream),
            transient=True,
        )
        self._several = several
        self._task = self.progress.add_task(
            "actions" if several else next(iter(actions)), total=self._total, forecast=""
        )

    def event(self, name: str, event: Event) -> None:
        """Take in one event of a target."""
        if isinstance(event, ActionFinished):
            self.progress.advance(self._task)
        elif isinstance(event, Forecast) and self._several:
            self._ends[name] = time.monotonic() + event.expected.seconds
        elif isinstance(event, Forecast):
            self.progress.update(self._task, forecast=forecast_words(event, local_now()))

    def finished(self, result: ApplyResult) -> None:
        """Count a target that has ended."""
        self._ends.pop(result.name, None)
        if any(outcome.result is Result.FAILED for outcome in result.outcomes):
            self._failed += 1
        else:
            self._done += 1

    def print(self, text: str) -> None:
        """Print lines above the bar."""
        from rich.text import Text

        console = self.progress.console
        console.print(Text.from_ansi(fitted(text, cast("TextIO", console.file)).rstrip("\n")), soft_wrap=True)

    def _head(self, done: float) -> str:
        now = time.monotonic()
        # The targets at work know their rates; the mean of what is done also counts the targets that have not begun.
        left = [end - now for end in tuple(self._ends.values())]
        if done:
            left.append((now - self._began) * (self._total - done) / done)
        return tally_words(self._targets, self._done, self._failed, max(left, default=0.0), local_now())
