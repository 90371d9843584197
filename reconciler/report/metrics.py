"""Metric names, and samples in Prometheus's text exposition format, version 0.0.4.

A single run (textfile collector) and the controller take the names from here, so that one dashboard fits both.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from reconciler.drift import DriftStatus
from reconciler.drift.report import DriftReport

PREFIX = "ivs_reconciler_"


class Metric(NamedTuple):
    """One name, ``gauge`` or ``counter``, the label names in their order, and what it means."""

    name: str
    type: str
    labels: tuple[str, ...]
    help: str


_TARGET = ("stack", "target")

IN_SYNC = Metric(
    PREFIX + "in_sync",
    "gauge",
    _TARGET,
    "1 if live state matches the spec, 0 if not; no sample while the target cannot be read.",
)
RESOURCES = Metric(
    PREFIX + "resources",
    "gauge",
    (*_TARGET, "status"),
    "Resources by status: unchanged, drift, pending, missing, duplicate, orphan, kept, unmanaged.",
)
IGNORED = Metric(PREFIX + "ignored_differences", "gauge", _TARGET, "Differences ignored on request of the caller.")
LAST_RUN = Metric(
    PREFIX + "last_run_timestamp_seconds", "gauge", _TARGET, "When the last run of the target ended, successful or not."
)
LAST_RUN_OK = Metric(
    PREFIX + "last_run_success", "gauge", _TARGET, "1 if the last run succeeded, with or without drift; 0 if it failed."
)
LAST_SUCCESS = Metric(
    PREFIX + "last_success_timestamp_seconds", "gauge", _TARGET, "When the last successful run ended."
)
DURATION = Metric(PREFIX + "last_run_duration_seconds", "gauge", _TARGET, "How long the last run of the target took.")
CALLS = Metric(
    PREFIX + "last_run_api_calls",
    "gauge",
    (*_TARGET, "operation", "outcome"),
    "AWS calls of the last run, by operation and outcome: ok, throttled or error.",
)
CALLS_TOTAL = Metric(
    PREFIX + "api_calls_total",
    "counter",
    (*_TARGET, "operation", "outcome"),
    "AWS calls since the start, by operation and outcome: ok, throttled or error.",
)
THROTTLES_TOTAL = Metric(
    PREFIX + "throttles_total", "counter", (*_TARGET, "operation"), "Calls throttled by AWS since the start."
)
RUNS_TOTAL = Metric(PREFIX + "runs_total", "counter", (*_TARGET, "outcome"), "Runs since the start, by outcome.")
LIVE_BLOCKS = Metric(PREFIX + "pending_live_blocks", "gauge", _TARGET, "Actions blocked because a channel is live.")
NOTIFICATIONS_TOTAL = Metric(
    PREFIX + "notifications_total",
    "counter",
    ("stack", "receiver", "outcome"),
    "Notifications since the start: sent or failed.",
)

UNMANAGED = "unmanaged"
UNCHANGED = "unchanged"
STATUSES = (UNCHANGED, *(status.value for status in DriftStatus), UNMANAGED)
"""The values of the label ``status`` of resources."""

OK, THROTTLED, FAILED = "ok", "throttled", "error"
"""The values of the label ``outcome`` of calls."""


@dataclass(frozen=True, slots=True)
class Sample:
    """The result of one run of one target. ``counts`` is empty and ``in_sync`` is ``None`` if the target could not be read.

    Times are seconds since 1970; ``last_success`` is ``0`` if there was none. ``calls`` is keyed by operation and outcome.
    """

    stack: str
    target: str
    ran_at: float
    seconds: float
    last_success: float = 0.0
    in_sync: bool | None = None
    counts: Mapping[str, int] = field(default_factory=dict)
    ignored: int = 0
    calls: Mapping[tuple[str, str], int] = field(default_factory=dict)


def counts_of(report: DriftReport) -> dict[str, int]:
    """Return how many resources have each status."""
    return {
        UNCHANGED: report.unchanged,
        **{status.value: len(report.of(status)) for status in DriftStatus},
        UNMANAGED: len(report.unmanaged),
    }


def is_in_sync(report: DriftReport) -> bool:
    """Return whether there is neither drift nor a pending change."""
    return not report.drifted and not report.pending


def render(samples: Sequence[Sample]) -> str:
    """Return the text of all targets' samples, each metric's together, as the format demands."""
    rows: list[tuple[Metric, list[str]]] = [
        (IN_SYNC, [_line(IN_SYNC, _of(one), int(one.in_sync)) for one in samples if one.in_sync is not None]),
        (
            RESOURCES,
            [
                _line(RESOURCES, (*_of(one), status), one.counts[status])
                for one in samples
                for status in STATUSES
                if status in one.counts
            ],
        ),
        (IGNORED, [_line(IGNORED, _of(one), one.ignored) for one in samples if one.in_sync is not None]),
        (LAST_RUN, [_line(LAST_RUN, _of(one), one.ran_at) for one in samples]),
        (LAST_RUN_OK, [_line(LAST_RUN_OK, _of(one), int(one.in_sync is not None)) for one in samples]),
        (LAST_SUCCESS, [_line(LAST_SUCCESS, _of(one), one.last_success) for one in samples if one.last_success]),
        (DURATION, [_line(DURATION, _of(one), round(one.seconds, 3)) for one in samples]),
        (
            CALLS,
            [_line(CALLS, (*_of(one), *key), count) for one in samples for key, count in sorted(one.calls.items())],
        ),
    ]
    return "".join(
        f"# HELP {metric.name} {metric.help}\n# TYPE {metric.name} {metric.type}\n" + "".join(lines)
        for metric, lines in rows
        if lines
    )


def last_successes(text: str) -> dict[tuple[str, str], float]:
    """Return, by stack and target, the last success in an earlier metrics file, for runs that fail. Other lines are skipped."""
    found: dict[tuple[str, str], float] = {}
    for labels, value in _lines_of(text, LAST_SUCCESS.name):
        if len(labels) == len(_TARGET):
            found[labels[0], labels[1]] = value
    return found


def _of(sample: Sample) -> tuple[str, str]:
    return sample.stack, sample.target


def _line(metric: Metric, values: Iterable[str], value: float) -> str:
    labels = ",".join(f'{name}="{_escaped(text)}"' for name, text in zip(metric.labels, values, strict=True))
    return f"{metric.name}{{{labels}}} {value!r}\n"


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace("\n", "\\n").replace('"', '\\"')


def _lines_of(text: str, name: str) -> Iterator[tuple[tuple[str, ...], float]]:
    # Stack and target names hold no quotes, commas or braces (the project file's patterns), so that splitting is enough.
    for line in text.splitlines():
        if not line.startswith(name + "{"):
            continue
        labels, closed, number = line[len(name) + 1 :].rpartition("} ")
        try:
            value = float(number)
        except ValueError:
            continue
        if closed:
            yield tuple(part.partition("=")[2].strip('"') for part in labels.split(",")), value
