"""Progress of an apply: a line an action, and a bar on a terminal."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, TextIO, cast

from reconciler.apply import ActionFinished, Event, Forecast, StepWaiting
from reconciler.plan.plan import ApplyResult, Outcome, Result
from reconciler.report.text import Paint, plain, render_result
from reconciler.report.words import duration_words
from reconciler.terminal import fitted, sanitize, write_fitted

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

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
    end = now + timedelta(seconds=coming.seconds)
    day = "" if end.date() == now.date() else f"{end:%Y-%m-%d} "
    return f"{coming.calls:,} {coming.operation} left at {coming.pace:.3g}/s, ends {day}{end:%H:%M:%S} ({duration_words(coming.seconds)})"


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


@contextlib.contextmanager
def watcher(name: str, actions: int, stdout: TextIO, stderr: TextIO, paint: Paint) -> Iterator[Lines | Bar]:
    """Show one target's apply; with a bar if stderr is a terminal."""
    stdout.write(f"\nApplying to {name}\n")
    stdout.flush()
    if not stderr.isatty():
        yield Lines(stdout, paint)
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("{task.fields[forecast]}"),
    )
    with Progress(*columns, console=Console(file=stderr), transient=True) as progress:
        yield Bar(
            progress,
            progress.add_task(name, total=actions, forecast=""),
            Lines(stdout, paint),
            same_terminal=stdout.isatty(),
        )


class Lines:
    """A line for each finished action, and one a minute about what is left."""

    def __init__(self, stdout: TextIO, paint: Paint, now: Callable[[], datetime] = local_now) -> None:
        self._stdout = stdout
        self._paint = paint
        self._now = now
        self._waits = Waits()
        self._forecast_at = -_FORECAST_INTERVAL_SECONDS

    def event(self, event: Event) -> None:
        """Handle one event."""
        if isinstance(event, ActionFinished):
            if event.outcome.result is Result.SKIPPED:
                return  # the report has one line for all that were skipped for one reason
            write_fitted(self.line(event.outcome, self._paint) + "\n", self._stdout)
            self._stdout.flush()
        elif (words := self._waits.words(event)) is not None:
            write_fitted(f"  {self._paint('waiting', 'note')}  {words}\n", self._stdout)
            self._stdout.flush()
        elif (
            isinstance(event, Forecast)
            and event.elapsed - self._forecast_at >= _FORECAST_INTERVAL_SECONDS
            and event.expected.seconds >= _MIN_FORECAST_SECONDS
        ):
            self._forecast_at = event.elapsed
            forecast = self._paint(forecast_words(event, self._now()), "dim")
            write_fitted(f"  {forecast}\n", self._stdout)
            self._stdout.flush()

    @staticmethod
    def line(outcome: Outcome, paint: Paint) -> str:
        """Return the line of one outcome."""
        word, tone = _MARKS[outcome.result]
        message = f": {outcome.message}" if outcome.message else ""
        return f"  {paint(word, tone)}  {sanitize(f'{outcome.verb.value} {outcome.address}{message}')}"


@dataclass
class Bar:
    """A progress bar on a terminal, with the lines above it if stdout is the same terminal."""

    progress: Progress
    task: TaskID
    lines: Lines
    same_terminal: bool
    waits: Waits = field(default_factory=Waits)

    def event(self, event: Event) -> None:
        """Handle one event."""
        if isinstance(event, Forecast):
            self.progress.update(self.task, forecast=forecast_words(event, local_now()))
            return
        if self.same_terminal and (words := self.waits.words(event)) is not None:
            self._print(f"  waiting  {words}")
            return
        if not isinstance(event, ActionFinished):
            self.lines.event(event)
            return
        if self.same_terminal and event.outcome.result is not Result.SKIPPED:
            self._print(Lines.line(event.outcome, plain))
        else:
            self.lines.event(event)
        self.progress.advance(self.task)

    def _print(self, line: str) -> None:
        console = self.progress.console
        console.print(fitted(line, cast("TextIO", console.file)), markup=False, highlight=False, soft_wrap=True)


class Screen:
    """Lines and a bar on the terminal, and the report at the end."""

    def __init__(self, paint: Paint) -> None:
        self._paint = paint

    @contextlib.contextmanager
    def observe(self, name: str, actions: int) -> Iterator[Callable[[Event], None]]:
        """Yield a function that shows the events of one target."""
        with watcher(name, actions, sys.stdout, sys.stderr, self._paint) as shown:
            yield shown.event

    def finished(self, result: ApplyResult) -> None:
        """Show the report of one target."""
        write_fitted("\n" + render_result(result, paint=self._paint), sys.stdout)
        sys.stdout.flush()
