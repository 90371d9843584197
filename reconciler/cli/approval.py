"""Approval of a plan: guardrails, the question, the run with its progress, the report. Shared by ``apply``, ``adopt`` and ``rotate``.

The progress is a block of lines for each target in the project's order, and on a terminal one bar for all.
"""

from __future__ import annotations

import argparse
import sys
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime, timedelta
from types import MappingProxyType
from typing import TYPE_CHECKING, Self, TextIO, cast

from reconciler import __version__
from reconciler.apply import ActionFinished, Event, Forecast, StepWaiting, events_json, result_json
from reconciler.cli.options import Context, confirmed, print_lines, tolerate_output_errors
from reconciler.cli.plan import print_notes, refusals, show_duration, show_plan
from reconciler.errors import AwsError, ExitCode, PlanRefused, ReconcilerError, os_reason, stopped_by
from reconciler.executors.fleet import ApplyElsewhere
from reconciler.git.committed import commit_to_record
from reconciler.model.address import UNKNOWN_COMMIT
from reconciler.model.kinds.ivs import LIST_STREAMS
from reconciler.model.resource import TargetOutputs
from reconciler.model.target import Project, Target
from reconciler.model.values import format_time
from reconciler.plan.codec import lines
from reconciler.plan.plan import ApplyResult, FailedTarget, Outcome, Plan, PlanOptions, Result
from reconciler.report.accounts import outputs_json
from reconciler.report.text import Paint, render_result, render_states
from reconciler.report.words import apply_states, duration_words, end_words, join_words, nonzero, plural, tally_words
from reconciler.terminal import display_json, fit_to_width, sanitize, write_fitted
from reconciler.workflow.history import find_unknown_commit
from reconciler.workflow.last_apply import last_applies
from reconciler.workflow.locks import lock_targets
from reconciler.workflow.outputs import Published, outputs_of, publish_files, publish_parameters, survey_after
from reconciler.workflow.progress import interruptible, local_now
from reconciler.workflow.run import ApplyObserver, Silent, apply_plans
from reconciler.workflow.survey import Survey, combine_failures, failures_by_target, map_targets

if TYPE_CHECKING:
    from types import TracebackType

    from rich.console import RenderableType
    from rich.progress import Progress

_STOPPING = "\nInterrupted: waiting for in-flight calls. Press Ctrl-C again to exit now.\n"
_MAX_NAMES = 3
_STOPPED = "Interrupted. In-flight calls may have been carried out; run plan to see what is left."


@contextmanager
def json_output(args: argparse.Namespace) -> Iterator[None]:
    """With ``--format json``, print the format's version first, and the reason last if the run ends without a result."""
    if args.format != "json":
        yield
        return
    _line({"type": "version", "formatVersion": "1.0", "program": "ivs-reconciler", "version": __version__})
    try:
        yield
    except ReconcilerError as error:
        sort = "refused" if error.exit_code is ExitCode.REFUSED else "error"
        _ended(sort, error.word, str(error), error.exit_code)
        raise
    except KeyboardInterrupt as stop:
        code, why = stopped_by(stop)
        _ended("error", "stopped", why, code)
        raise


def _ended(sort: str, word: str, message: str, code: ExitCode) -> None:
    with suppress(OSError):  # a closed pipe does not change how the run ended
        _line({"type": sort, "code": word, "message": message, "exitCode": int(code)})


def check_can_prompt(args: argparse.Namespace) -> None:
    """Raise ``PlanRefused`` if approval is needed and cannot be asked for."""
    if args.auto_approve:
        return
    if args.format == "json":
        raise PlanRefused("cannot prompt for approval: --format json. Use --auto-approve")
    if not sys.stdin.isatty():
        saved = ", or apply a saved plan" if args.command == "apply" and not args.plan_files else ""
        raise PlanRefused(f"cannot prompt for approval: no terminal. Use --auto-approve{saved}")


def hold_locks(
    args: argparse.Namespace, targets: tuple[Target, ...], command: str = "apply"
) -> AbstractContextManager[Mapping[str, threading.Event]]:
    """Hold the locks of these targets from before they are read until the report is printed. Raises ``LockHeld``."""
    return lock_targets(targets, command, timeout=args.lock_timeout, notify=_warn)


def approve_and_run(
    plan: Plan,
    surveys: Sequence[Survey],
    project: Project,
    args: argparse.Namespace,
    context: Context,
    *,
    lost: Mapping[str, threading.Event],
    before_first_call: Callable[[], None] | None = None,
    elsewhere: ApplyElsewhere | None = None,
    missed: Mapping[str, AwsError] = MappingProxyType({}),
) -> int:
    """Show the plan of all targets, refuse or ask, run every target, report; return the exit code.

    ``missed`` are the targets that could not be read: the others are applied. Raises their errors if there is nothing to apply.
    ``lost`` has an event for each lock, set when it is lost. ``elsewhere`` applies through an executor.
    """
    plan = plan._replace(
        targets=tuple(survey.plan for survey in surveys),
        failed=(*plan.failed, *(FailedTarget(name, str(error)) for name, error in missed.items())),
    )
    failure = combine_failures(missed)
    _show(plan, surveys, project, args, context)
    as_json = args.format == "json"
    at_once: int | None = getattr(args, "targets_at_once", None)  # adopt has one target

    def apply(observer: ApplyObserver, stop: threading.Event) -> tuple[ApplyResult, ...]:
        notes = _Notes()
        try:
            return (elsewhere or apply_plans)(
                _with_commit(plan, surveys, project, args),
                project,
                observer,
                stop=stop,
                lost=lost,
                at_once=at_once,
                note=notes,
            )
        finally:
            notes.end()

    def publish(results: Sequence[ApplyResult]) -> _OutputsResult:
        return _publish_outputs(
            surveys, results, project, plan.options, as_json=as_json, at_once=at_once, elsewhere=elsewhere
        )

    if not any(target.actions for target in plan.targets):
        apply(Silent(), threading.Event())  # which records that all is in sync
        published = publish(())
        if as_json:
            _line({"type": "result", "complete": failure is None, "targets": [], **published.members})
        if failure is not None:
            raise failure
        return ExitCode.OK if published.complete else ExitCode.INCOMPLETE
    if failure is not None:
        _warn(f"error: {failure}\n{plural(len(missed), 'target')} could not be read and will not be changed.")
    _require_approval(plan, args)
    if before_first_call:
        before_first_call()
    results, published, failures = _run(plan, apply, publish, paint=context.paint(sys.stdout), as_json=as_json)
    complete = published.complete and not missed and all(result.complete for result in results)
    if failures:
        counts = Counter(outcome.result.value for result in results for outcome in result.outcomes)
        end = ", ".join(f"{count:,} {what}" for what, count in counts.items())
        _warn(f"{args.command} ended ({end}), but its report could not be written: {os_reason(failures[0])}")
    return ExitCode.INCOMPLETE if not complete else ExitCode.ERROR if failures else ExitCode.OK


def _run(
    plan: Plan,
    apply: Callable[[ApplyObserver, threading.Event], tuple[ApplyResult, ...]],
    publish: Callable[[Sequence[ApplyResult]], _OutputsResult],
    *,
    paint: Paint,
    as_json: bool,
) -> tuple[tuple[ApplyResult, ...], _OutputsResult, list[OSError]]:
    """Apply, publish the outputs unless that was interrupted, and report both as they go. Return the results, and why the report failed."""
    work = {target.name: len(target.actions) for target in plan.targets if target.actions}
    events = _JsonLines(work) if as_json else None
    published = _OutputsResult()
    try:
        with tolerate_output_errors() as failures, interruptible(_STOPPING) as stop:
            try:
                with nullcontext(events) if events else Screen(paint, work) as watch:
                    results = apply(watch, stop)
                if not events and (overview := render_states(apply_states(plan, results), paint=paint)):
                    write_fitted(f"\n{overview}", sys.stdout)
                    sys.stdout.flush()
                if not stop.is_set():
                    published = publish(results)
            finally:
                if events:
                    events.end(plan, published.members)
    except KeyboardInterrupt as stopped:
        raise type(stopped)(_STOPPED) from None
    return results, published, failures


def _show(plan: Plan, surveys: Sequence[Survey], project: Project, args: argparse.Namespace, context: Context) -> None:
    """Show the plan. Raises ``PlanRefused`` if guardrails refuse it."""
    recorded, notes = last_applies(project, surveys)
    if args.format == "json":
        _plan_line(plan)
    else:
        show_plan(plan, "text", context)
        show_duration(plan, project)
        sys.stdout.flush()
    print_notes(notes)
    refused = refusals(plan, project, recorded)
    if refused:
        raise PlanRefused("\n".join([*refused, "Nothing was changed."]))


def _with_commit(plan: Plan, surveys: Sequence[Survey], project: Project, args: argparse.Namespace) -> Sequence[Survey]:
    """Return the surveys with the commit that this run records as applied: unknown if it applies only a part.

    None if the command changes no address, or if all is in sync and the commit of the last apply is known.
    """
    changes = any(target.actions for target in plan.targets)
    if args.command not in ("apply", "adopt") or not (
        changes or any(find_unknown_commit(survey.plan, survey.live, project.stack) for survey in surveys)
    ):
        return surveys
    commit = UNKNOWN_COMMIT
    if args.command == "apply" and not plan.options.has_globs:
        commit = commit_to_record(project, {survey.target.name: survey.desired for survey in surveys})
    return [survey._replace(commit=commit) for survey in surveys]


class _Notes:
    """Prints a note ``TARGET: TEXT`` of an apply at once, and at its end the other targets with the same text."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._same: dict[str, list[str]] = {}

    def __call__(self, note: str) -> None:
        with self._lock:  # targets are applied in threads
            same = self._same.setdefault(note.partition(": ")[2], [])
            same.append(note)
            is_first = len(same) == 1
        if is_first:
            print_notes([note])

    def end(self) -> None:
        """Print the notes that were not printed yet."""
        print_notes(note for _, *others in self._same.values() for note in others)


def _warn(text: str) -> None:
    with suppress(OSError):
        print_lines(sys.stderr, text)
        sys.stderr.flush()


def _require_approval(plan: Plan, args: argparse.Namespace) -> None:
    """Ask unless approval is given. Raises ``PlanRefused`` if nothing can be done, or the answer is no."""
    if not any(action.blocked is None for target in plan.targets for action in target.actions):
        raise PlanRefused(f"{args.command} refused: all actions are blocked, see above. Nothing was changed")
    where = ", ".join(
        f"{target.name} ({target.account_id}, {target.region})" for target in plan.targets if target.actions
    )
    if not args.auto_approve and not confirmed(f"\nApply these changes to {where}?"):
        raise PlanRefused(f"{args.command} not approved. Nothing was changed")


class _JsonLines:
    """Events and results of these targets as JSON, one object a line; the results at the end, in this order. Thread-safe."""

    def __init__(self, targets: Iterable[str]) -> None:
        self._order = tuple(targets)
        self._results: dict[str, ApplyResult] = {}
        self._lock = threading.Lock()

    @contextmanager
    def observe(self, name: str, actions: int) -> Iterator[Callable[[Event], None]]:
        """Yield a function that prints the events of one target."""
        del actions

        def handle(event: Event) -> None:
            content = {"target": name, **events_json(event), **_expected_end(event)}
            with self._lock:
                _line(content)

        yield handle

    def finished(self, result: ApplyResult) -> None:
        """Keep the result of one target."""
        self._results[result.name] = result

    def end(self, plan: Plan, outputs: Mapping[str, object]) -> None:
        """Print the results; before those of several targets their states, and in the last one more members."""
        results = [self._results[name] for name in self._order if name in self._results]
        with self._lock:
            if len(plan.targets) > 1 and len(results) == len(self._order):
                states = {one.name: one.state for one in apply_states(plan, results)}
                _line({"type": "summary", "counts": dict(Counter(states.values())), "targets": states})
            for result in results:
                _line({**result_json(result), **(outputs if result is results[-1] else {})})


@dataclass(frozen=True, slots=True)
class _OutputsResult:
    """The outputs after an apply: members of the last line of JSON, and whether all that is due could be published."""

    members: Mapping[str, object] = field(default_factory=dict)
    complete: bool = True


def _publish_outputs(
    surveys: Sequence[Survey],
    results: Sequence[ApplyResult],
    project: Project,
    options: PlanOptions,
    *,
    as_json: bool,
    at_once: int | None,
    elsewhere: ApplyElsewhere | None,
) -> _OutputsResult:
    """Publish the outputs of all targets where the project file says, after their apply, and report it."""
    if not (project.outputs or as_json):
        return _OutputsResult()
    # An apply that lost its lock was stopped: another run may be publishing.
    stopped = {result.name for result in results if result.interrupted}
    done = Published()
    if elsewhere is not None:
        names = [survey.target.name for survey in surveys]  # they ended in any order
        outputs = [elsewhere.outputs[name] for name in names if name in elsewhere.outputs]
        for name in names:
            done.add(elsewhere.published.get(name, Published()))
        unread = [name for name in names if name not in elsewhere.outputs]
        error = f"of {join_words(unread)} could not be read" if unread else ""
    else:
        found, error = _read_outputs(surveys, results, at_once)
        outputs = [one for _, one in found]
        if project.outputs:
            done = publish_parameters(project, [one for one in found if one[1].name not in stopped], options)
    if error:
        _warn(f"the outputs {error}; run outputs to print them")
    if project.outputs:
        publish_files(project, [one for one in outputs if one.name not in stopped], done)
    for line in (*done.skipped, *done.failures):
        _warn(f"outputs: {line}")
    if done.failures:
        _warn("Correct that, then run apply again to publish the rest.")
    if not as_json and (done.written or done.deleted):
        counts = nonzero({"written": len(done.written), "deleted": len(done.deleted)})
        first = join_words([*done.written[:_MAX_NAMES], *(["more"] if len(done.written) > _MAX_NAMES else [])])
        print_lines(sys.stdout, f"Outputs published: {counts}{f' ({first})' if first else ''}.")
        sys.stdout.flush()
    members: dict[str, object] = {} if error else {"outputs": outputs_json(project.stack, outputs)}
    if project.outputs:
        members["published"] = asdict(done)
    return _OutputsResult(members, not project.outputs or not (error or done.failures))


def _read_outputs(
    surveys: Sequence[Survey], results: Sequence[ApplyResult], at_once: int | None
) -> tuple[list[tuple[Survey, TargetOutputs]], str]:
    """Return the outputs of the targets after their apply, each with a survey of then; and why those of others could not be read."""
    by_name = {result.name: result for result in results}
    surveyed = {survey.target.name: survey for survey in surveys}
    targets = tuple(survey.target for survey in surveys)

    def read(target: Target) -> tuple[Survey, TargetOutputs]:
        survey = surveyed[target.name]
        after = survey_after(survey, by_name[target.name]) if target.name in by_name else survey
        return after, outputs_of(after)

    results_of = map_targets(targets, read, at_once)
    error = combine_failures(failures_by_target(targets, results_of))
    read_ones = [one for one in results_of if not isinstance(one, AwsError)]
    return read_ones, f"could not be read ({error})" if error else ""


def _expected_end(event: Event) -> dict[str, object]:
    if not isinstance(event, Forecast):
        return {}
    return {"expectedEnd": format_time(datetime.now(UTC) + timedelta(seconds=event.expected.seconds))}


def _plan_line(plan: Plan) -> None:
    """Write the event with the plan, an action at a time."""
    sys.stdout.write('{"type": "plan", "plan": ')
    sys.stdout.writelines(line.rstrip("\n") for line in lines(plan))
    sys.stdout.write("}\n")
    sys.stdout.flush()


def _line(content: dict[str, object]) -> None:
    sys.stdout.write(display_json(content) + "\n")
    sys.stdout.flush()


_MARKS = {Result.DONE: ("done", "good"), Result.FAILED: ("failed", "bad")}


_FORECAST_INTERVAL_SECONDS = 60.0
"""How often a log gets a line about what is left; a bar shows it all the time."""

_MIN_FORECAST_SECONDS = 10.0

_LONG_WAIT_SECONDS = 5.0
"""How long a step waits before a line says why."""


def forecast_words(forecast: Forecast, now: datetime) -> str:
    """Return which operation limits the rate, how many of its calls are left, and when they end."""
    coming = forecast.expected
    return f"{coming.calls:,} {coming.operation} left at {coming.pace:.3g}/s, {end_words(coming.seconds, now)}"


class Waits:
    """Reports what an apply waits for: a live channel at once, anything else after a few seconds; once a step."""

    def __init__(self) -> None:
        self._lasted: dict[str, float] = {}

    def words(self, event: Event) -> str | None:
        """Return the line for an event, or ``None``."""
        if not isinstance(event, StepWaiting):
            return None
        if event.operation == LIST_STREAMS:
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
            # The report lists what was skipped and blocked, one line a reason.
            if event.outcome.result not in (Result.SKIPPED, Result.BLOCKED):
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
        block = Lines(lambda text: self._write(name, text), self._paint)

        def handle(event: Event) -> None:
            bar = self._bar
            if bar is not None:
                bar.event(name, event)
            # When a target's turn comes, what was expected before is of no interest.
            if not isinstance(event, Forecast) or (bar is None and self._turns and self._turns[0] == name):
                block.event(event)

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
        console.print(Text.from_ansi(fit_to_width(text, cast("TextIO", console.file)).rstrip("\n")), soft_wrap=True)

    def _head(self, done: float) -> str:
        now = time.monotonic()
        # The targets at work know their rates; the mean of what is done also counts the targets that have not started.
        left = [end - now for end in tuple(self._ends.values())]
        if done:
            left.append((now - self._began) * (self._total - done) / done)
        return tally_words(self._targets, self._done, self._failed, max(left, default=0.0), local_now())
