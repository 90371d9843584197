"""Waiting for a forge: as long as it asks, within a limit, on a clock of the test."""

from __future__ import annotations

import pytest

from reconciler.errors import ForgeError, ForgeRefused
from reconciler.forge.ci import open_forge
from reconciler.forge.client import MAX_WAIT_SECONDS, Access, RetryBudget, Upserted, marker, upsert
from reconciler.forge.client import Forge as OpenForge
from tests.forge.forge import PROJECT, REPOSITORY, Fault, Forge

MARK = marker("acme", "prod")
RATE = "API rate limit exceeded for installation ID 1."
ABUSE = "You have exceeded a secondary rate limit. Please wait a few minutes before you try again."


class Clock:
    """A clock whose sleeps take no time and are recorded."""

    def __init__(self) -> None:
        self.time = 1_000_000.0
        self.slept: list[float] = []

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.time += seconds

    def budget(self) -> RetryBudget:
        return RetryBudget(sleep=self.sleep, now=lambda: self.time)


@pytest.fixture
def clock() -> Clock:
    return Clock()


def opened(forge: Forge, clock: Clock, provider: str, token: str = "") -> OpenForge:
    if provider == "github":
        return open_forge(Access("github", forge.url, REPOSITORY, token or "ghs_actions"), clock.budget())
    return open_forge(Access("gitlab", f"{forge.url}/api/v4", str(PROJECT), token or "glpat_bot"), clock.budget())


LIMITS = [
    ("github", Fault("GET", "comments", 403, {"Retry-After": "7"}, ABUSE), [7.0]),
    (
        "github",
        Fault("GET", "comments", 403, {"X-RateLimit-Remaining": "0", "X-RateLimit-Reset": "1000020"}, RATE),
        [21.0],
    ),
    (
        "github",
        Fault("GET", "comments", 429, {"X-RateLimit-Remaining": "0", "X-RateLimit-Reset": "1000020"}, RATE),
        [21.0],
    ),
    ("github", Fault("GET", "comments", 403, {}, ABUSE), [60.0]),
    ("github", Fault("POST", "comments", 403, {"Retry-After": "2"}, ABUSE, times=2), [2.0, 2.0]),
    ("github", Fault("GET", "comments", 502, {}, "", times=2), [1.0, 2.0]),
    ("gitlab", Fault("GET", "notes", 429, {"Retry-After": "7"}, "Retry later"), [7.0]),
    ("gitlab", Fault("GET", "notes", 429, {"RateLimit-Reset": "1000020"}, "Retry later"), [21.0]),
    ("gitlab", Fault("POST", "notes", 429, {"Retry-After": "3"}, "Retry later"), [3.0]),
    ("gitlab", Fault("GET", "notes", 500, {}, ""), [1.0]),
]


@pytest.mark.parametrize(("provider", "fault", "waits"), LIMITS)
def test_the_wait_that_is_asked_for_is_the_wait_that_is_made(
    forge: Forge, clock: Clock, provider: str, fault: Fault, waits: list[float]
) -> None:
    forge.faults.append(Fault(fault.method, fault.path, fault.status, fault.headers, fault.message, fault.times))
    done, _ = upsert(opened(forge, clock, provider).comments(12), MARK, "", "text", quiet=False)
    assert done is Upserted.CREATED
    assert clock.slept == waits
    assert forge.bodies() == [f"{MARK}\ntext"]


@pytest.mark.parametrize("provider", ["github", "gitlab"])
@pytest.mark.parametrize(
    "headers",
    [
        {"Retry-After": "3600"},
        {"X-RateLimit-Remaining": "0", "X-RateLimit-Reset": "1003600", "RateLimit-Reset": "1003600"},
    ],
)
def test_a_wait_beyond_the_bound_is_an_error_at_once(
    forge: Forge, clock: Clock, provider: str, headers: dict[str, str]
) -> None:
    forge.faults.append(Fault("GET", "12", 429, headers, RATE, times=9))
    with pytest.raises(ForgeError, match="rate limited for longer than the maximum wait") as raised:
        upsert(opened(forge, clock, provider).comments(12), MARK, "", "text", quiet=False)
    assert not isinstance(raised.value, ForgeRefused)
    assert clock.slept == []


def test_all_waits_of_a_run_together_have_a_bound(forge: Forge, clock: Clock) -> None:
    forge.faults.append(Fault("GET", "comments", 403, {"Retry-After": "40"}, ABUSE, times=9))
    with pytest.raises(ForgeError):
        upsert(opened(forge, clock, "github").comments(12), MARK, "", "text", quiet=False)
    assert sum(clock.slept) <= MAX_WAIT_SECONDS
    assert clock.slept == [40.0, 40.0]


@pytest.mark.parametrize(("provider", "path"), [("github", "comments"), ("gitlab", "notes")])
def test_a_write_that_may_have_happened_is_not_made_twice(forge: Forge, clock: Clock, provider: str, path: str) -> None:
    forge.faults.append(Fault("POST", path, 502, {}, ""))
    with pytest.raises(ForgeError, match="failed with status 502"):
        upsert(opened(forge, clock, provider).comments(12), MARK, "", "text", quiet=False)
    assert [method for method, _ in forge.writes] == ["POST"]


@pytest.mark.parametrize("provider", ["github", "gitlab"])
def test_a_forge_that_is_not_there_is_said_without_the_token(clock: Clock, provider: str) -> None:
    gone = Forge(url="http://127.0.0.1:9")
    secret = "very-secret-token"
    with pytest.raises(ForgeError, match="no answer") as raised:
        upsert(opened(gone, clock, provider, secret).comments(12), MARK, "", "text", quiet=False)
    assert secret not in repr(raised.value) + str(raised.value.__dict__)
    assert raised.value.__cause__ is None


@pytest.mark.parametrize("provider", ["github", "gitlab"])
def test_a_forge_that_repeats_the_token_is_not_repeated(forge: Forge, clock: Clock, provider: str) -> None:
    secret = "very-secret-token"
    forge.faults.append(Fault("GET", "", 400, {}, f"the token {secret} \x1b[31mis wrong\nreally", times=9))
    with pytest.raises(ForgeError) as raised:
        upsert(opened(forge, clock, provider, secret).comments(12), MARK, "", "text", quiet=False)
    assert secret not in str(raised.value)
    assert "(token)" in str(raised.value)
    assert "\x1b" not in str(raised.value)
    assert secret not in repr(Access(provider, forge.url, REPOSITORY, secret))


@pytest.mark.parametrize(
    "names",
    [
        ("a", "b"),
        ("a --> <b>", "c\nd"),
        ("a target=b", "c"),
        ("a", "target=b c"),
        ("--", "->"),
        ("é", "%41"),
        ("a-", "-b"),
    ],
)
def test_no_two_names_share_a_marker_and_none_ends_it(names: tuple[str, str]) -> None:
    mark = marker(*names)
    assert mark.startswith("<!-- ivs-reconciler ")
    assert mark.endswith(" -->")
    assert "--" not in mark[4:-3]
    assert "\n" not in mark
    assert mark not in {
        marker(names[0] + names[1], ""),
        marker("", names[0] + names[1]),
        marker(names[0], ""),
        marker(names[1], names[0]),
    }
