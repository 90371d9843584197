from __future__ import annotations

import heapq
import random
from concurrent.futures import ThreadPoolExecutor

import pytest

from reconciler.live.limiter import RATES, SHARE, UNPUBLISHED, Pacer
from tests.live.makers import Time


class Bucket:
    """A server's token bucket."""

    def __init__(self, rate: float, burst: float) -> None:
        self._rate, self._burst, self._tokens, self._at = rate, burst, burst, 0.0

    def takes(self, now: float) -> bool:
        self._tokens = min(self._burst, self._tokens + (now - self._at) * self._rate)
        self._at = now
        if self._tokens < 1:
            return False
        self._tokens -= 1
        return True


def simulate(calls: int, *, workers: int, burst: float, other: float = 0.0, seed: int = 1) -> tuple[float, int]:
    """Run workers against a bucket of 5 calls a second; return goodput over the published rate, and how many calls were throttled.

    ``other`` is what somebody else takes of the rate. The way there takes 80 ms, give or take 5.
    """
    dice = random.Random(seed)
    time = Time()
    pacer = Pacer(clock=time.clock, sleep=time.sleep, rates={"ListChannels": 5.0})
    bucket = Bucket(5.0 - other, burst)
    arriving: list[tuple[float, int, bool]] = [(0.0, worker, False) for worker in range(workers)]
    done = throttled = 0
    while done < calls:
        now, worker, arrives = heapq.heappop(arriving)
        time.now = now
        if not arrives:
            heapq.heappush(arriving, (now + pacer.reserve("ListChannels") + 0.04 + dice.uniform(-0.005, 0.005), worker, True))
            continue
        if bucket.takes(now):
            done += 1
            pacer.succeeded("ListChannels")
        else:
            throttled += 1
            pacer.throttled("ListChannels")
        heapq.heappush(arriving, (now + 0.04, worker, False))
    return done / time.now / 5.0, throttled


@pytest.mark.parametrize("workers", [1, 4, 10])
def test_the_whole_rate_is_used_and_nothing_is_throttled(workers: int) -> None:
    goodput, throttled = simulate(1000, workers=workers, burst=2)
    assert goodput >= 0.98
    assert throttled == 0


def test_another_user_of_the_same_rate_makes_it_give_way() -> None:
    goodput, throttled = simulate(1000, workers=4, burst=2, other=1.0)
    assert goodput > 0.7
    assert throttled / 1000 < 0.1


def test_operations_do_not_wait_for_one_another() -> None:
    time = Time()
    pacer = Pacer(clock=time.clock, sleep=time.sleep)
    for operation in RATES:
        pacer.wait(operation)
    assert time.slept == []


def test_calls_of_one_operation_are_spaced_evenly() -> None:
    time = Time()
    pacer = Pacer(clock=time.clock, sleep=time.sleep)
    for _ in range(4):
        pacer.wait("GetRecordingConfiguration")
    assert time.now == pytest.approx(3 / (3 * SHARE))


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
    time.now = 1.0
    pacer.throttled("CreateChannel")
    assert pacer.rate("CreateChannel") == pytest.approx(4.95 * 0.97 * 0.97)


def test_successes_win_the_pace_back_but_never_more() -> None:
    time = Time()
    pacer = Pacer(clock=time.clock, sleep=time.sleep)
    pacer.throttled("CreateChannel")
    for _ in range(1000):
        pacer.succeeded("CreateChannel")
    assert pacer.rate("CreateChannel") == pytest.approx(4.95)


def test_an_operation_without_a_published_rate_is_taken_to_be_slow() -> None:
    time = Time()
    assert Pacer(clock=time.clock, sleep=time.sleep).rate("SomethingNew") == pytest.approx(UNPUBLISHED * SHARE)


def test_threads_share_one_pace() -> None:
    pacer = Pacer(clock=lambda: 0.0, sleep=lambda _: None)
    with ThreadPoolExecutor(8) as pool:
        waits = sorted(pool.map(lambda _: pacer.reserve("ListChannels"), range(400)))
    assert waits == pytest.approx([index / 4.95 for index in range(400)])


def test_every_operation_of_the_service_has_a_rate() -> None:
    import botocore.session

    assert set(botocore.session.Session().get_service_model("ivs").operation_names) == set(RATES)
