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
from reconciler.errors import AwsError
from reconciler.gitops.controller import Snapshot
from reconciler.gitops.git import Trouble
from reconciler.gitops.state import FAILURES, Ending, RepositoryState, Run, TargetState
from reconciler.live.retries import is_throttle
from reconciler.plan.drift import Standing

PREFIX = "ivs_reconciler_"
_SECONDS = (0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600, 1800)
IN_SYNC = frozenset({Ending.IN_SYNC, Ending.APPLIED})


disable_created_metrics()  # type: ignore[no-untyped-call]


class Metrics:
    """Counts what the controller does; an ``Observer`` of it."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._runs = self._counter("runs_total", "Runs since the start, by outcome.", ["stack", "target", "outcome"])
        self._done = self._counter("actions_total", "Actions carried out since the start.", ["stack", "target"])
        self._calls = self._counter(
            "api_calls_total", "AWS calls since the start, by operation and outcome: ok, throttled or error.", ["stack", "target", "operation", "outcome"]
        )
        self._throttles = self._counter("throttles_total", "Calls that AWS refused for their rate since the start.", ["stack", "target", "operation"])
        self._fetches = self._counter("repository_fetches_total", "Attempts to ask about the branch, by outcome.", ["outcome"])
        self._seconds = Histogram(
            f"{PREFIX}run_duration_seconds", "How long looks at a target took.", ["stack", "target"], buckets=_SECONDS, registry=self.registry
        )

    def _counter(self, name: str, words: str, labels: list[str]) -> Counter:
        return Counter(f"{PREFIX}{name}", words, labels, registry=self.registry)

    def counted(self, stack: str, target: str, operation: str, error: AwsError | None) -> None:
        """Count one request. Called from any thread."""
        throttled = error is not None and is_throttle(error)
        if throttled:
            self._throttles.labels(stack, target, operation).inc()
        outcome = "ok" if error is None else "throttled" if throttled else "error"
        self._calls.labels(stack, target, operation, outcome).inc()

    def ran(self, before: TargetState, after: TargetState, run: Run) -> None:
        """Count one look at a target."""
        del before, after
        self._runs.labels(run.stack, run.target, run.ending.value).inc()
        self._seconds.labels(run.stack, run.target).observe(run.seconds)
        self._done.labels(run.stack, run.target).inc(run.done)

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
        yield InfoMetricFamily(f"{PREFIX}build", "The program.", value={"version": __version__})
        yield from _repository(snapshot.repository)
        yield from _targets(snapshot)


def _repository(repository: RepositoryState) -> Iterable[Metric]:
    yield _one("repository_up", "1 while the newest state of the branch is followed.", float(bool(repository.fetched_at) and repository.trouble is None))
    yield _one("repository_last_fetch_timestamp_seconds", "When the branch was last asked about with an answer.", repository.fetched_at)
    yield _one("repository_failures", "Attempts to follow the branch that failed in a row.", repository.failures)
    trouble = GaugeMetricFamily(f"{PREFIX}repository_trouble", "1 for what is wrong with the branch.", labels=["trouble"])
    for each in Trouble:
        trouble.add_metric([each.value], float(repository.trouble is each))
    yield trouble
    commit = GaugeMetricFamily(f"{PREFIX}repository_commit", "The commit that is followed.", labels=["commit", "verified"])
    if repository.commit:
        commit.add_metric([repository.commit.id, str(repository.commit.verified).lower()], 1)
    yield commit


def _targets(snapshot: Snapshot) -> Iterable[Metric]:
    """Return the gauges of every target; what is not known has no sample, so that nothing unknown looks calm."""
    stack, states = snapshot.stack, snapshot.states
    last = {name: state.last for name, state in states.items() if state.last}
    known = {name: state.known for name, state in states.items() if state.known}
    readable = {name: run for name, run in last.items() if run.looked}
    yield _each(
        "in_sync",
        "1 if live state is as the spec says, 0 if it is not; no sample while the target cannot be read.",
        stack,
        {n: r.ending in IN_SYNC for n, r in readable.items()},
    )
    yield _each(
        "last_run_success",
        "1 if the last run could do its work, drift or not; 0 if it could not.",
        stack,
        {n: r.ending not in FAILURES for n, r in last.items()},
    )
    yield _each(
        "last_run_timestamp_seconds", "When the last run of the target ended, whatever came of it.", stack, {n: r.started + r.seconds for n, r in last.items()}
    )
    yield _each("last_run_duration_seconds", "How long the last run of the target took.", stack, {n: r.seconds for n, r in last.items()})
    yield _each(
        "last_success_timestamp_seconds",
        "When the last run that could do its work ended.",
        stack,
        {n: s.last_success for n, s in states.items() if s.last_success},
    )
    yield _each("pending_live_blocks", "Changes that wait until a channel is off air.", stack, {n: r.waiting_on_air for n, r in known.items()})
    yield _each("suspended", "1 while nobody looks at the target.", stack, {n: s.suspended for n, s in states.items()})
    yield _each("failures", "Runs that failed in a row.", stack, {n: s.failures for n, s in states.items()})
    yield _each("live_channels", "Channels of the stack on air.", stack, {n: len(r.on_air) for n, r in known.items()})
    yield _each("viewers", "Viewers of the stack's channels on air.", stack, {n: sum(max(0, each.viewers) for each in r.on_air) for n, r in known.items()})
    resources = _family("resources", "Resources by how they stand to the spec: unchanged, drift, pending, missing, duplicate, orphan, foreign.", "standing")
    for name, run in known.items():
        counts = {"unchanged": run.unchanged, **{standing.value: run.counts.get(standing, 0) for standing in Standing}, "foreign": run.foreign}
        for standing, count in counts.items():
            resources.add_metric([stack, name, standing], count)
    yield resources
    ending = _family("last_run_ending", "1 for how the last run ended.", "ending")
    mode = _family("mode", "1 for what is done about the target.", "mode")
    for name in states:
        mode.add_metric([stack, name, snapshot.modes[name].value], 1)
        for each in Ending if name in last else ():
            ending.add_metric([stack, name, each.value], last[name].ending is each)
    yield ending
    yield mode


def _family(name: str, words: str, *labels: str) -> GaugeMetricFamily:
    return GaugeMetricFamily(f"{PREFIX}{name}", words, labels=["stack", "target", *labels])


def _one(name: str, words: str, value: float) -> Metric:
    return GaugeMetricFamily(f"{PREFIX}{name}", words, value=value)


def _each(name: str, words: str, stack: str, values: Mapping[str, float]) -> Metric:
    family = _family(name, words)
    for target, value in values.items():
        family.add_metric([stack, target], float(value))
    return family
