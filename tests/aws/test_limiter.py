from __future__ import annotations

import heapq
import random
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import pytest

from reconciler.aws.limiter import Pacer, Pacers, backoff_seconds
from reconciler.model.kinds import RATE_SHARE, RATES, SERVICES, UNPUBLISHED_RATE
from tests.aws.makers import Time


class Bucket:
    """A server's count of calls: a bucket that refills all the time, or one that is full again at every whole second."""

    def __init__(self, rate: float, burst: float, *, windows: bool = False) -> None:
        self._rate, self._burst, self._windows = rate, burst, windows
        self._tokens, self._at = burst, 0.0

    def takes(self, now: float) -> bool:
        refill = (int(now) - int(self._at)) * self._burst if self._windows else (now - self._at) * self._rate
        self._tokens = min(self._burst, self._tokens + refill)
        self._at = now
        if self._tokens < 1:
            return False
        self._tokens -= 1
        return True


@dataclass
class Seen:
    """What came of a run: calls answered a second, and the share of requests refused; by client."""

    goodput: list[float]
    throttled: list[float]

    @property
    def share(self) -> float:
        return self.goodput[0] / 5.0


def simulate(
    bucket: Bucket, *, seconds: float = 200.0, workers: int = 4, clients: int = 1, stubborn: float = 0.0, seed: int = 1
) -> Seen:
    """Let clients, each with a pacer of its own, share a bucket of 5 calls a second with one that keeps calling after any answer.

    The way there takes 40 ms, give or take 5.
    """
    dice = random.Random(seed)
    times = Time()
    pacers = [Pacer(clock=times.clock, sleep=times.sleep, rates={("ivs", "ListChannels"): 5.0}) for _ in range(clients)]
    events = [(dice.random(), worker, client, "idle") for client in range(clients) for worker in range(workers)]
    if stubborn:
        events.append((0.1, 0, -1, "stubborn"))
    heapq.heapify(events)
    done, refused = [0] * clients, [0] * clients
    while events[0][0] < seconds:
        now, worker, client, what = heapq.heappop(events)
        times.now = now
        if what == "stubborn":
            bucket.takes(now)
            heapq.heappush(events, (now + 1 / stubborn * dice.uniform(0.9, 1.1), worker, client, what))
        elif what == "idle":
            heapq.heappush(
                events,
                (
                    now + pacers[client].reserve("ListChannels") + 0.04 + dice.uniform(-0.005, 0.005),
                    worker,
                    client,
                    "arrives",
                ),
            )
        elif bucket.takes(now):
            done[client] += 1
            pacers[client].succeeded("ListChannels")
            heapq.heappush(events, (now + 0.04, worker, client, "idle"))
        else:
            refused[client] += 1
            pacers[client].throttled("ListChannels")
            heapq.heappush(events, (now + 0.04 + backoff_seconds(1, dice.random()), worker, client, "idle"))
    return Seen(
        [count / seconds for count in done], [bad / (bad + good) for good, bad in zip(done, refused, strict=True)]
    )


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("workers", [1, 4, 10])
@pytest.mark.parametrize(
    "bucket",
    [(2, False), (3, False), (5, False), (5, True)],
    ids=lambda bucket: f"burst {bucket[0]}{' windows' if bucket[1] else ''}",
)
def test_the_whole_rate_is_used_and_nothing_is_throttled(bucket: tuple[int, bool], workers: int, seed: int) -> None:
    seen = simulate(Bucket(5.0, bucket[0], windows=bucket[1]), workers=workers, seed=seed)
    assert seen.share >= 0.98
    assert seen.throttled == [0.0]


@pytest.mark.parametrize("seed", range(4))
def test_jitter_on_the_way_to_a_bucket_of_one_costs_little(seed: int) -> None:
    seen = simulate(Bucket(5.0, 1), seed=seed)
    assert seen.share >= 0.85
    assert seen.throttled[0] < 0.05


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("burst", [2, 5])
def test_another_user_who_takes_two_fifths_is_honoured_without_storms(burst: int, seed: int) -> None:
    seen = simulate(Bucket(5.0, burst), stubborn=2.0, seed=seed)
    assert seen.share >= 0.54
    assert seen.throttled[0] < 0.06


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("clients", [2, 3, 5])
def test_several_processes_come_to_share_one_rate(clients: int, seed: int) -> None:
    seen = simulate(Bucket(5.0, 5), clients=clients, seconds=600, seed=seed)
    assert sum(seen.goodput) >= 0.98 * 5.0
    assert min(seen.goodput) > 0.6 * 5.0 / clients
    assert max(seen.throttled) < 0.04 * clients


def test_all_who_mean_one_account_and_region_keep_one_pace() -> None:
    pacers = Pacers()
    regional, dual = "https://ivs.us-west-2.amazonaws.com", "https://ivs.us-west-2.api.aws"
    one = pacers.of("123456789012", "us-west-2", regional)
    assert pacers.of("123456789012", "us-west-2", dual) is one
    others = [
        pacers.of("210987654321", "us-west-2", regional),
        pacers.of("123456789012", "eu-west-1", regional),
        pacers.of("123456789012", "us-west-2", "http://127.0.0.1:1"),
    ]
    assert len({id(pacer) for pacer in (one, *others)}) == 4


def test_operations_do_not_wait_for_one_another() -> None:
    time = Time()
    pacer = Pacer(clock=time.clock, sleep=time.sleep)
    for service, operation in RATES:
        if service == "ivs":
            pacer.wait(operation)
    assert time.slept == []


def test_calls_of_one_operation_are_spaced_evenly() -> None:
    time = Time()
    pacer = Pacer(clock=time.clock, sleep=time.sleep)
    for _ in range(4):
        pacer.wait("GetRecordingConfiguration")
    assert time.now == pytest.approx(3 / (3 * RATE_SHARE))


def test_a_pause_saves_up_no_burst() -> None:
    time = Time()
    pacer = Pacer(clock=time.clock, sleep=time.sleep)
    pacer.wait("ListChannels")
    time.now = 100.0
    pacer.wait("ListChannels")
    assert pacer.reserve("ListChannels") == pytest.approx(1 / 4.95)


def test_many_refusals_within_a_second_count_once() -> None:
    time = Time()
    pacer = Pacer(clock=time.clock, sleep=time.sleep)
    for _ in range(10):
        pacer.throttled("CreateChannel")
    assert pacer.rate("CreateChannel") == pytest.approx(4.95 * 0.97)


def test_the_step_down_grows_with_the_share_of_refused_calls() -> None:
    time = Time()
    pacer = Pacer(clock=time.clock, sleep=time.sleep)
    steps = []
    for second in range(6):
        time.now = float(second)
        before = pacer.rate("CreateChannel")
        pacer.throttled("CreateChannel")
        steps.append(pacer.rate("CreateChannel") / before)
    assert steps[0] == pytest.approx(0.97)
    assert steps == sorted(steps, reverse=True)
    assert steps[-1] == pytest.approx(0.8)


def test_the_pace_never_falls_so_low_that_it_cannot_come_back() -> None:
    time = Time()
    pacer = Pacer(clock=time.clock, sleep=time.sleep)
    for second in range(100):
        time.now = float(second)
        pacer.throttled("CreateChannel")
    assert pacer.rate("CreateChannel") == pytest.approx(0.495)


def test_time_without_refusals_restores_the_pace_but_never_more() -> None:
    time = Time()
    pacer = Pacer(clock=time.clock, sleep=time.sleep)
    pacer.throttled("CreateChannel")
    pacer.succeeded("CreateChannel")
    time.now = 1.0
    pacer.succeeded("CreateChannel")
    assert pacer.rate("CreateChannel") == pytest.approx(4.95 * 0.975)
    for second in range(2, 100):
        time.now = float(second)
        pacer.succeeded("CreateChannel")
    assert pacer.rate("CreateChannel") == pytest.approx(4.95)


def test_nothing_is_won_back_while_nothing_is_sent() -> None:
    time = Time()
    pacer = Pacer(clock=time.clock, sleep=time.sleep)
    pacer.succeeded("CreateChannel")
    pacer.throttled("CreateChannel")
    time.now = 3600.0
    pacer.succeeded("CreateChannel")
    assert pacer.rate("CreateChannel") == pytest.approx(4.95 * 0.975)


def test_an_operation_without_a_published_rate_is_taken_to_be_slow() -> None:
    time = Time()
    assert Pacer(clock=time.clock, sleep=time.sleep).rate("SomethingNew") == pytest.approx(
        UNPUBLISHED_RATE * RATE_SHARE
    )


def test_threads_share_one_pace() -> None:
    pacer = Pacer(clock=lambda: 0.0, sleep=lambda _: None)
    with ThreadPoolExecutor(8) as pool:
        waits = sorted(pool.map(lambda _: pacer.reserve("ListChannels"), range(400)))
    assert waits == pytest.approx([index / 4.95 for index in range(400)])


def test_every_operation_of_the_service_has_a_rate() -> None:
    import botocore.session

    loaded = botocore.session.Session()
    known = {(service, name) for service in SERVICES for name in loaded.get_service_model(service).operation_names}
    assert known == set(RATES)
