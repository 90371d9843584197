"""The controller's metrics for Prometheus: the current state, and counters since the start.

Needs the package's ``controller`` extra. It has a registry of its own, so that no other library's metrics are exported.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import partial

from prometheus_client import CollectorRegistry, Counter, Histogram, disable_created_metrics
from prometheus_client.core import GaugeMetricFamily, InfoMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest
from prometheus_client.registry import Collector

from reconciler import __version__
from reconciler.controller.controller import Observer, Snapshot
from reconciler.controller.state import FAILURES, RepositoryState, Run, RunStatus
from reconciler.drift import DriftStatus
from reconciler.errors import AwsError
from reconciler.git.git import Trouble
from reconciler.report import metrics as names
from reconciler.workflow.notifications import Delivery

_TARGET = ("stack", "target")


def _metric(kind: str, name: str, labels: tuple[str, ...], text: str) -> names.Metric:
    return names.Metric(names.PREFIX + name, kind, labels, text)


_gauge = partial(_metric, "gauge")
ACTIONS = _metric("counter", "actions_total", _TARGET, "Actions applied since the start.")
FETCHES = _metric(
    "counter", "repository_fetches_total", ("outcome",), "Fetches of the branch since the start, by outcome."
)
SECONDS = _metric("histogram", "run_duration_seconds", _TARGET, "Duration of the target's runs.")
SUSPENDED = _gauge("suspended", _TARGET, "1 while the target is suspended.")
FAILED_RUNS = _gauge("failures", _TARGET, "Consecutive failed runs.")
LIVE_CHANNELS = _gauge("live_channels", _TARGET, "Live channels of the stack.")
VIEWERS = _gauge("viewers", _TARGET, "Viewers of the stack's live channels.")
STATUS = _gauge("last_run_status", (*_TARGET, "status"), "1 for the status of the last run, 0 for the others.")
MODE = _gauge("mode", (*_TARGET, "mode"), "1 for the mode of the target.")
UP = _gauge("repository_up", (), "1 while the newest commit of the branch is followed.")
LAST_FETCH = _gauge("repository_last_fetch_timestamp_seconds", (), "When the branch was last fetched successfully.")
FETCH_FAILURES = _gauge("repository_failures", (), "Consecutive failed fetches.")
TROUBLE = _gauge("repository_trouble", ("trouble",), "1 for the reason why the branch is not followed.")
COMMIT = _gauge("repository_commit", ("commit", "verified"), "1 for the commit that is followed.")

_BUCKETS = (0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600, 1800)
_IN_SYNC = frozenset({RunStatus.IN_SYNC, RunStatus.APPLIED})

disable_created_metrics()  # type: ignore[no-untyped-call]


class Metrics(Observer):
    """The metrics of a controller."""

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

    def on_run(self, run: Run) -> None:
        """Count a run."""
        self._runs.labels(run.stack, run.target, run.status.value).inc()
        self._seconds.labels(run.stack, run.target).observe(run.seconds)
        self._actions.labels(run.stack, run.target).inc(run.done)

    def on_fetch(self, repository: RepositoryState) -> None:
        """Count a fetch."""
        self._fetches.labels(repository.trouble.value if repository.trouble else "ok").inc()

    def on_request(self, stack: str, target: str, operation: str, error: AwsError | None) -> None:
        """Count a request to AWS."""
        throttled = error is not None and error.throttled
        if throttled:
            self._throttles.labels(stack, target, operation).inc()
        outcome = names.OK if error is None else names.THROTTLED if throttled else names.FAILED
        self._calls.labels(stack, target, operation, outcome).inc()

    def on_delivery(self, stack: str, delivery: Delivery) -> None:
        """Count a notification."""
        outcome = "failed" if delivery.failure else "sent"
        self._notifications.labels(stack, delivery.receiver, outcome).inc()

    def expose(self, snapshot: Callable[[], Snapshot]) -> Callable[[], tuple[bytes, str]]:
        """Return a function that returns the body and content type for a scrape."""
        self.registry.register(_StateCollector(snapshot))
        return lambda: (generate_latest(self.registry), CONTENT_TYPE_LATEST)


class _StateCollector(Collector):
    """The gauges of the current state."""

    def __init__(self, snapshot: Callable[[], Snapshot]) -> None:
        self._snapshot = snapshot

    def describe(self) -> Iterable[Metric]:
        """Return nothing: the targets are not known in advance."""
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
    """Yield the gauges of all targets. Unknown values have no sample, so that they do not look fine."""
    stack, states = snapshot.stack, snapshot.states
    all_states = {(stack, name): state for name, state in states.items()}
    last_runs = {at: state.last_run for at, state in all_states.items() if state.last_run}
    last_reads = {at: state.last_read for at, state in all_states.items() if state.last_read}
    yield _family(
        names.IN_SYNC,
        {
            at: run.status in _IN_SYNC
            for at, run in last_runs.items()
            if run.account_read and not (run.report and run.report.unread)
        },
    )
    yield _family(names.LAST_RUN_OK, {at: run.status not in FAILURES for at, run in last_runs.items()})
    yield _family(names.LAST_RUN, {at: run.started + run.seconds for at, run in last_runs.items()})
    yield _family(names.DURATION, {at: run.seconds for at, run in last_runs.items()})
    yield _family(
        names.LAST_SUCCESS, {at: state.last_success for at, state in all_states.items() if state.last_success}
    )
    yield _family(names.LIVE_BLOCKS, {at: run.blocked_by_live for at, run in last_reads.items()})
    yield _family(SUSPENDED, {at: state.suspended for at, state in all_states.items()})
    yield _family(FAILED_RUNS, {at: state.failures for at, state in all_states.items()})
    yield _family(LIVE_CHANNELS, {at: len(run.live_channels) for at, run in last_reads.items()})
    yield _family(
        VIEWERS, {at: sum(max(0, each.viewers) for each in run.live_channels) for at, run in last_reads.items()}
    )
    yield _family(
        names.RESOURCES,
        {(*at, status): count for at, run in last_reads.items() for status, count in _statuses(run).items()},
    )
    yield _family(
        STATUS, {(*at, each.value): run.status is each for at, run in last_runs.items() for each in RunStatus}
    )
    yield _family(MODE, {(*at, snapshot.modes[at[1]].value): 1 for at in all_states})


def _statuses(run: Run) -> Mapping[str, int]:
    return {
        names.UNCHANGED: run.unchanged,
        **{status.value: run.counts.get(status, 0) for status in DriftStatus},
        names.UNMANAGED: run.unmanaged,
    }


def _family(metric: names.Metric, samples: Mapping[tuple[str, ...], float]) -> Metric:
    family = GaugeMetricFamily(metric.name, metric.help, labels=metric.labels)
    for labels, value in samples.items():
        family.add_metric(labels, float(value))
    return family
