"""What a Prometheus server reads: the state of everything at the moment it asks, and counts of what happened since the start.

Needs the package's ``controller`` extra. A registry of its own, so that nothing of other libraries is exported.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from prometheus_client import CollectorRegistry, Counter, Histogram, disable_created_metrics
from prometheus_client.core import GaugeMetricFamily, InfoMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest
from prometheus_client.registry import Collector

from reconciler import __version__
from reconciler.aws.limiter import is_throttle
from reconciler.controller.controller import Observer, Snapshot
from reconciler.controller.state import FAILURES, Ending, RepositoryState, Run, TargetState
from reconciler.drift.report import Standing
from reconciler.errors import AwsError
from reconciler.git.git import Trouble
from reconciler.report import metrics as names
from reconciler.workflow.notifications import Delivery

_TARGET = ("stack", "target")
ACTIONS = names.Metric(names.PREFIX + "actions_total", "counter", _TARGET, "Actions carried out since the start.")
FETCHES = names.Metric(
    names.PREFIX + "repository_fetches_total",
    "counter",
    ("outcome",),
    "Attempts to ask about the branch since the start, by outcome.",
)
SECONDS = names.Metric(names.PREFIX + "run_duration_seconds", "histogram", _TARGET, "How long runs of a target took.")
SUSPENDED = names.Metric(names.PREFIX + "suspended", "gauge", _TARGET, "1 while nobody looks at the target.")
FAILED_RUNS = names.Metric(names.PREFIX + "failures", "gauge", _TARGET, "Runs that failed in a row.")
ON_AIR = names.Metric(names.PREFIX + "live_channels", "gauge", _TARGET, "Channels of the stack on air.")
VIEWERS = names.Metric(names.PREFIX + "viewers", "gauge", _TARGET, "Viewers of the stack's channels on air.")
ENDING = names.Metric(names.PREFIX + "last_run_ending", "gauge", (*_TARGET, "ending"), "1 for how the last run ended.")
MODE = names.Metric(names.PREFIX + "mode", "gauge", (*_TARGET, "mode"), "1 for what is done about the target.")
UP = names.Metric(names.PREFIX + "repository_up", "gauge", (), "1 while the newest state of the branch is followed.")
LAST_FETCH = names.Metric(
    names.PREFIX + "repository_last_fetch_timestamp_seconds",
    "gauge",
    (),
    "When the branch was last asked about with an answer.",
)
FETCH_FAILURES = names.Metric(
    names.PREFIX + "repository_failures", "gauge", (), "Attempts to follow the branch that failed in a row."
)
TROUBLE = names.Metric(
    names.PREFIX + "repository_trouble", "gauge", ("trouble",), "1 for what is wrong with the branch."
)
COMMIT = names.Metric(
    names.PREFIX + "repository_commit", "gauge", ("commit", "verified"), "The commit that is followed."
)

_BUCKETS = (0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600, 1800)
_IN_SYNC = frozenset({Ending.IN_SYNC, Ending.APPLIED})

disable_created_metrics()  # type: ignore[no-untyped-call]


class Metrics(Observer):
    """Counts what the controller does."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._runs = self._counter(names.RUNS_TOTAL)
        self._calls = self._counter(names.CALLS_TOTAL)
        self._throttles = self._counter(names.THROTTLES_TOTAL)
        self._notifications = self._counter(names.NOTIFICATIONS_TOTAL)
        self._actions = self._counter(ACTIONS)
        self._fetches = self._counter(FETCHES)
        self._seconds = Histogram(SECONDS.name, SECONDS.help, SECONDS.labels, buckets=_BUCKETS, registry=self.registry)

    def _counter(self, metric: names.Metric) -> Counter:
        return Counter(metric.name, metric.help, metric.labels, registry=self.registry)

    def counted(self, stack: str, target: str, operation: str, error: AwsError | None) -> None:
        """Count one request. Called from any thread."""
        throttled = error is not None and is_throttle(error)
        if throttled:
            self._throttles.labels(stack, target, operation).inc()
        outcome = names.OK if error is None else names.THROTTLED if throttled else names.FAILED
        self._calls.labels(stack, target, operation, outcome).inc()

    def told(self, stack: str, telling: Delivery) -> None:
        """Count one notification. Called from any thread."""
        self._notifications.labels(stack, telling.channel, "failed" if telling.failure else "sent").inc()

    def ran(self, before: TargetState, after: TargetState, run: Run) -> None:
        """Count one look at a target."""
        del before, after
        self._runs.labels(run.stack, run.target, run.ending.value).inc()
        self._seconds.labels(run.stack, run.target).observe(run.seconds)
        self._actions.labels(run.stack, run.target).inc(run.done)

    def fetched(self, repository: RepositoryState) -> None:
        """Count one attempt to fetch."""
        self._fetches.labels(repository.trouble.value if repository.trouble else "ok").inc()

    def expose(self, snapshot: Callable[[], Snapshot]) -> Callable[[], tuple[bytes, str]]:
        """Return what writes everything down for a scrape."""
        self.registry.register(_States(snapshot))
        return lambda: (generate_latest(self.registry), CONTENT_TYPE_LATEST)


class _States(Collector):
    """Gauges made from how things stand at the moment of asking."""

    def __init__(self, snapshot: Callable[[], Snapshot]) -> None:
        self._snapshot = snapshot

    def describe(self) -> Iterable[Metric]:
        """Say nothing beforehand: there may be no target yet."""
        return ()

    def collect(self) -> Iterable[Metric]:
        """Return the gauges."""
        snapshot = self._snapshot()
        yield InfoMetricFamily(f"{names.PREFIX}build", "The program.", value={"version": __version__})
        yield from _repository(snapshot.repository)
        yield from _targets(snapshot)


def _repository(repository: RepositoryState) -> Iterable[Metric]:
    yield _family(UP, {(): float(bool(repository.fetched_at) and repository.trouble is None)})
    yield _family(LAST_FETCH, {(): repository.fetched_at} if repository.fetched_at else {})
    yield _family(FETCH_FAILURES, {(): repository.failures})
    yield _family(TROUBLE, {(each.value,): repository.trouble is each for each in Trouble})
    commit = repository.commit
    yield _family(COMMIT, {(commit.id, str(commit.verified).lower()): 1} if commit else {})


def _targets(snapshot: Snapshot) -> Iterable[Metric]:
    """Return the gauges of every target; what is not known has no sample, so that nothing unknown looks calm."""
    stack, states = snapshot.stack, snapshot.states
    every = {(stack, name): state for name, state in states.items()}
    last = {at: state.last for at, state in every.items() if state.last}
    known = {at: state.known for at, state in every.items() if state.known}
    yield _family(
        names.IN_SYNC,
        {
            at: run.ending in _IN_SYNC
            for at, run in last.items()
            if run.looked and not (run.report and run.report.unread)
        },
    )
    yield _family(names.LAST_RUN_OK, {at: run.ending not in FAILURES for at, run in last.items()})
    yield _family(names.LAST_RUN, {at: run.started + run.seconds for at, run in last.items()})
    yield _family(names.DURATION, {at: run.seconds for at, run in last.items()})
    yield _family(names.LAST_SUCCESS, {at: state.last_success for at, state in every.items() if state.last_success})
    yield _family(names.LIVE_BLOCKS, {at: run.waiting_on_air for at, run in known.items()})
    yield _family(SUSPENDED, {at: state.suspended for at, state in every.items()})
    yield _family(FAILED_RUNS, {at: state.failures for at, state in every.items()})
    yield _family(ON_AIR, {at: len(run.on_air) for at, run in known.items()})
    yield _family(VIEWERS, {at: sum(max(0, each.viewers) for each in run.on_air) for at, run in known.items()})
    yield _family(
        names.RESOURCES,
        {(*at, standing): count for at, run in known.items() for standing, count in _standings(run).items()},
    )
    yield _family(ENDING, {(*at, each.value): run.ending is each for at, run in last.items() for each in Ending})
    yield _family(MODE, {(*at, snapshot.modes[at[1]].value): 1 for at in every})


def _standings(run: Run) -> Mapping[str, int]:
    return {
        names.UNCHANGED: run.unchanged,
        **{standing.value: run.counts.get(standing, 0) for standing in Standing},
        names.UNMANAGED: run.unmanaged,
    }


def _family(metric: names.Metric, samples: Mapping[tuple[str, ...], float]) -> Metric:
    family = GaugeMetricFamily(metric.name, metric.help, labels=metric.labels)
    for labels, value in samples.items():
        family.add_metric(labels, float(value))
    return family
