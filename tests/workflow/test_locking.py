"""One apply at a time: locks in files and in S3, taken, waited for, renewed, lost, left behind by the dead, and released by hand."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import boto3
import pytest

from reconciler.apply import ActionFinished, Event
from reconciler.aws.objects import S3LockBackend
from reconciler.errors import AwsError, LockHeld, UsageError
from reconciler.model.target import FileLock, LockHolder, S3Lock, Target, holder_from_json, holder_to_json
from reconciler.plan.plan import Result
from reconciler.sandbox import Sandbox, VirtualClock
from reconciler.workflow.locks import (
    LEASE_SECONDS,
    RENEW_SECONDS,
    FileLockBackend,
    LockBackend,
    LockClock,
    lock_targets,
    new_holder,
)
from reconciler.workflow.run import apply_plans
from tests.builders import desired, wanted
from tests.cli.support import ACCOUNT, outside, run, stack
from tests.reliability.world import Screen, World, worlds_client

START = 1_800_000_000.0
OTHER = LockHolder("f00", "alice", "build-7", 4711, "apply", START - 60, START + 60, "https://ci.example.com/run/9")


@dataclass
class Clock:
    """Time that passes only in a sleep; the renewing thread turns whenever it is let."""

    at: float = START
    turn: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(0))
    turned: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(0))
    first: bool = True

    @property
    def time(self) -> LockClock:
        return LockClock(lambda: self.at, self.sleep, self.wait)

    def sleep(self, seconds: float) -> None:
        self.at += seconds

    def wait(self, event: threading.Event, seconds: float) -> bool:
        if not self.first:
            self.turned.release()
        self.first = False
        while not self.turn.acquire(timeout=0.02):
            if event.is_set():
                return True
        self.at += seconds
        return event.is_set()

    def let_it_renew(self) -> None:
        self.turn.release()
        assert self.turned.acquire(timeout=60)


@pytest.fixture(scope="module")
def s3(moto: str) -> str:
    """Return the URL of a stand-in for S3 with the bucket ``locks``."""
    client = boto3.client(
        "s3", endpoint_url=moto, region_name="us-west-2", aws_access_key_id="any", aws_secret_access_key="any"
    )
    # The stand-in's state outlives its server, and one process may start it twice.
    with contextlib.suppress(client.exceptions.BucketAlreadyOwnedByYou):
        client.create_bucket(Bucket="locks", CreateBucketConfiguration={"LocationConstraint": "us-west-2"})
    return moto


@pytest.fixture(params=["file", "s3"])
def target(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Target:
    """Give a target with each kind of lock."""
    if request.param == "file":
        return Target("prod", "us-west-2", lock=FileLock(str(tmp_path / "locks" / "prod.json")))
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", request.getfixturevalue("s3"))
    return Target("prod", "us-west-2", sandbox="x", account_id=ACCOUNT, lock=S3Lock("locks", f"{tmp_path.name}.json"))


def door(target: Target) -> LockBackend:
    match target.lock:
        case FileLock(path):
            return FileLockBackend(path)
        case S3Lock():
            return S3LockBackend(target.lock, target, sleep=lambda _seconds: None)
    raise AssertionError


def held_by(target: Target) -> LockHolder:
    holder, _ = door(target).read()
    assert holder is not None
    return holder


def test_a_lock_says_who_since_when_from_where_and_is_released_at_the_end(target: Target) -> None:
    clock = Clock()
    with lock_targets((target,), "apply", clock=clock.time) as lost:
        holder = held_by(target)
        assert (holder.command, holder.host, holder.pid) == ("apply", socket.gethostname(), os.getpid())
        assert (holder.since, holder.expires) == (START, START + LEASE_SECONDS)
        assert not lost["prod"].is_set()
    assert held_by(target).released


def test_a_lock_that_is_held_is_refused_and_the_holder_named(target: Target) -> None:
    door(target).write(OTHER, "")
    with pytest.raises(LockHeld) as caught, lock_targets((target,), "apply", clock=Clock().time):
        pytest.fail("two hold it")
    said = str(caught.value)
    for fact in ("alice", "build-7", "apply", "https://ci.example.com/run/9", "unlock --target prod", "--lock-timeout"):
        assert fact in said
    assert held_by(target) == OTHER


def test_a_waiting_run_gets_an_expired_lock_and_reports_it(target: Target) -> None:
    door(target).write(OTHER, "")
    clock, said = Clock(), list[str]()
    with lock_targets((target,), "apply", timeout=300, notify=said.append, clock=clock.time):
        assert clock.at >= OTHER.expires
        assert held_by(target).run != OTHER.run
    assert len(said) == 2
    assert "waiting" in said[0]
    assert "took" in said[1]
    assert "expired" in said[1]


def test_patience_ends(target: Target) -> None:
    door(target).write(OTHER._replace(expires=START + 1000), "")
    clock = Clock()
    with pytest.raises(LockHeld), lock_targets((target,), "apply", timeout=30, clock=clock.time):
        pytest.fail("two hold it")
    assert START + 30 <= clock.at < START + 40


def test_a_lock_is_renewed_while_it_is_held(target: Target) -> None:
    clock = Clock()
    with lock_targets((target,), "apply", clock=clock.time) as lost:
        for _ in range(10):
            clock.let_it_renew()
        assert held_by(target).expires == clock.at + LEASE_SECONDS > START + 2 * LEASE_SECONDS
        assert not lost["prod"].is_set()


def test_losing_it_is_noticed_said_and_left_to_the_other(target: Target) -> None:
    clock, said = Clock(), list[str]()
    with lock_targets((target,), "apply", notify=said.append, clock=clock.time) as lost:
        _, token = door(target).read()
        door(target).write(OTHER, token)
        clock.turn.release()
        assert lost["prod"].wait(60)
    assert "was lost: another run took it" in said[0]
    assert held_by(target) == OTHER, "the lock of another holder was released"


def remove(target: Target) -> None:
    match target.lock:
        case FileLock(path):
            Path(path).unlink()
        case S3Lock(bucket, key):
            _s3().delete_object(Bucket=bucket, Key=key)


def unlock(target: Target) -> None:
    holder, token = door(target).read()
    assert holder is not None
    door(target).write(holder._replace(released=True), token)


@pytest.mark.parametrize(("change", "why"), [(remove, "it was removed"), (unlock, "it was released by unlock")])
def test_a_lost_lock_that_no_other_run_has_says_why(target: Target, change: Callable[[Target], None], why: str) -> None:
    clock, said = Clock(), list[str]()
    with lock_targets((target,), "apply", notify=said.append, clock=clock.time) as lost:
        change(target)
        clock.turn.release()
        assert lost["prod"].wait(60)
    assert f"was lost: {why}; waiting for in-flight calls; no new ones start" in said[0]


@pytest.mark.parametrize("kind", ["file", "s3"])
def test_a_lock_whose_renewals_fail_is_lost_before_its_lease_ends(
    kind: str, tmp_path: Path, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    if kind == "file":
        path = tmp_path / "lock.json"
        target = Target("prod", "us-west-2", lock=FileLock(str(path)))
    else:
        monkeypatch.setenv("AWS_ENDPOINT_URL_S3", request.getfixturevalue("s3"))
        target = Target("prod", "us-west-2", sandbox="x", account_id=ACCOUNT, lock=S3Lock("removed", "lock.json"))
        store = _s3()
        store.create_bucket(Bucket="removed", CreateBucketConfiguration={"LocationConstraint": "us-west-2"})
    clock, said = Clock(), list[str]()
    with lock_targets((target,), "apply", notify=said.append, clock=clock.time) as lost:
        if kind == "file":
            path.unlink()
            path.mkdir()
        else:
            store.delete_object(Bucket="removed", Key="lock.json")
            store.delete_bucket(Bucket="removed")
        clock.let_it_renew()
        assert not lost["prod"].is_set(), "one failure is no loss: others respect the lease until it ends"
        while clock.at + RENEW_SECONDS < START + LEASE_SECONDS and not lost["prod"].is_set():
            clock.turn.release()
            while not lost["prod"].is_set() and not clock.turned.acquire(timeout=0.02):
                pass
        assert lost["prod"].is_set()
        assert clock.at < START + LEASE_SECONDS
    assert "was lost: it could not be renewed" in said[0]


def test_of_many_at_once_one_gets_it(target: Target) -> None:
    barrier, refused = threading.Barrier(6), threading.Semaphore(0)

    def take(_number: int) -> bool:
        barrier.wait(60)
        try:
            with lock_targets((target,), "apply"):
                return all(refused.acquire(timeout=60) for _ in range(5))
        except LockHeld:
            refused.release()
            return False

    with ThreadPoolExecutor(6) as pool:
        assert sum(pool.map(take, range(6))) == 1


def test_a_lock_file_that_another_process_keeps_open_is_not_waited_for_for_ever(tmp_path: Path) -> None:
    path = tmp_path / "lock.json"
    script = "import fcntl, sys; file = open(sys.argv[1], 'a'); fcntl.flock(file, fcntl.LOCK_EX); print('up', flush=True); sys.stdin.read()"
    with subprocess.Popen(
        [sys.executable, "-S", "-c", script, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as other:
        assert other.stdout is not None
        other.stdout.readline()
        with pytest.raises(
            UsageError, match=r"by another process for more than 0\.2 seconds; check for a stopped process"
        ):
            FileLockBackend(str(path), timeout=0.2).read()
        other.kill()
    assert FileLockBackend(str(path)).read() == (None, "")


def test_a_process_that_is_gone_holds_nothing(tmp_path: Path) -> None:
    gone = subprocess.run(
        [sys.executable, "-c", "import os; print(os.getpid())"], capture_output=True, text=True, check=True
    )
    target = Target("prod", "us-west-2", lock=FileLock(str(tmp_path / "lock.json")))
    door(target).write(OTHER._replace(host=socket.gethostname(), pid=int(gone.stdout)), "")
    said: list[str] = []
    with lock_targets((target,), "apply", notify=said.append, clock=Clock().time):
        pass
    assert "the process has ended" in said[0]


@pytest.mark.parametrize(
    "content", [b"not a lock", b"[]", b'{"formatVersion": "2.0"}', b'{"formatVersion": "1.0", "run": 1}', b"\xff\xfe"]
)
def test_something_else_in_its_place_is_named_and_not_overwritten(
    target: Target, content: bytes, tmp_path: Path
) -> None:
    match target.lock:
        case FileLock(path):
            Path(path).parent.mkdir()
            Path(path).write_bytes(content)
        case S3Lock(bucket, key):
            _put(bucket, key, content)
    with (
        pytest.raises(
            (AwsError, UsageError), match=r"^prod: the lock .* is not a lock; choose another.*unlock --force"
        ),
        lock_targets((target,), "apply", clock=Clock().time),
    ):
        pytest.fail("it was taken")
    door(target).force(OTHER._replace(released=True))
    assert held_by(target).released


def test_a_store_that_does_not_answer_is_no_missing_permission(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", "http://127.0.0.1:9")
    target = Target("prod", "us-west-2", sandbox="x", account_id=ACCOUNT, lock=S3Lock("bucket", "k"))
    with (
        pytest.raises(AwsError, match=r"^prod: the lock s3://bucket/k cannot be used: .*and the endpoint$"),
        lock_targets((target,), "apply", clock=Clock().time),
    ):
        pytest.fail("it was taken")


def test_a_bucket_that_is_not_there_is_named(s3: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", s3)
    target = Target("prod", "us-west-2", sandbox="x", account_id=ACCOUNT, lock=S3Lock("no-such-bucket", "k"))
    with (
        pytest.raises(AwsError, match=r"s3://no-such-bucket/k cannot be used.*s3:PutObject"),
        lock_targets((target,), "apply", clock=Clock().time),
    ):
        pytest.fail("it was taken")


def test_who_we_are_comes_from_the_ci() -> None:
    github = {
        "GITHUB_RUN_ID": "7",
        "GITHUB_REPOSITORY": "acme/live",
        "GITHUB_SERVER_URL": "https://github.example.com",
        "GITHUB_ACTOR": "alice",
    }
    assert new_holder("apply", START, github).url == "https://github.example.com/acme/live/actions/runs/7"
    assert new_holder("apply", START, github).who == "alice"
    assert (
        new_holder("apply", START, {"CI_JOB_URL": "https://gitlab.example.com/j/1"}).url
        == "https://gitlab.example.com/j/1"
    )
    assert new_holder("apply", START, {}).url == ""


def test_the_form_survives_json() -> None:
    assert holder_from_json(holder_to_json(OTHER)) == OTHER


def test_an_apply_that_loses_its_lock_starts_no_more(tmp_path: Path) -> None:
    clock = VirtualClock()
    ivs = worlds_client()
    sandbox = Sandbox(serve=False, clock=clock, seed=3)
    detach = sandbox.attach(ivs)
    try:
        world = World(sandbox, clock, ivs, tmp_path)
        survey = world.survey(desired(*(wanted(f"channel/c{number}") for number in range(30))))
        lost = threading.Event()

        class Losing(Screen):
            @contextmanager
            def observe(self, name: str, actions: int) -> Iterator[Callable[[Event], None]]:
                del name, actions
                yield lambda event: lost.set() if isinstance(event, ActionFinished) else None

        (result,) = apply_plans(
            [survey],
            world.project,
            Losing(),
            stop=threading.Event(),
            lost={"here": lost},
            sleep=clock.sleep,
            clock=clock.now,
        )
        made = len(ivs.list_channels(maxResults=100)["channels"])
    finally:
        detach()
        sandbox.stop()
    assert result.interrupted
    assert not result.complete
    done = sum(outcome.result is Result.DONE for outcome in result.outcomes)
    assert 1 <= done == made < 30


# The command line


def project(folder: Path, lock: dict[str, object]) -> Path:
    return stack(folder, {"channels": {"a": {}}}, target={"lock": lock})


def later(holder: LockHolder) -> LockHolder:
    return holder._replace(since=time.time(), expires=time.time() + 600)


def test_apply_is_refused_during_another_apply_and_plan_and_drift_are_not(tmp_path: Path) -> None:
    folder = project(tmp_path / "repo", {"file": ".locks/dev.json"})
    lock = FileLockBackend(str(folder / ".locks" / "dev.json"))
    lock.write(later(OTHER), "")
    for words in (
        ("apply", "--auto-approve"),
        ("apply", "--auto-approve", "--format", "json"),
        ("apply", "--auto-approve", "--lock-timeout", "1s"),
    ):
        refused = run(folder, *words)
        assert refused.code == 3
        assert "alice on build-7" in refused.err
    assert run(folder, "plan", "--out", "p.json").code == 0
    assert run(folder, "apply", "p.json", "--auto-approve").code == 3
    assert run(folder, "drift").code == 5
    with outside(folder) as (ivs, _):
        assert ivs.list_channels()["channels"] == []
    assert run(folder, "unlock").code == 3
    shown = run(folder, "unlock", "--force")
    assert shown.code == 0
    assert "alice" in shown.out
    assert run(folder, "apply", "p.json", "--auto-approve").code == 0
    assert run(folder, "unlock").out.strip().endswith("is free")


def test_the_lock_is_free_after_every_end_of_an_apply(tmp_path: Path) -> None:
    folder = project(tmp_path / "repo", {"file": "lock.json"})
    assert run(folder, "apply", "--auto-approve").code == 0
    assert holder_from_json((folder / "lock.json").read_bytes()).released
    (folder / "specs" / "live.yaml").write_text("channels: {}\n", encoding="utf-8")
    assert run(folder, "apply", "--auto-approve").code == 3
    assert holder_from_json((folder / "lock.json").read_bytes()).released


def test_two_applies_with_a_lock_in_s3_follow_each_other(tmp_path: Path, s3: str) -> None:
    folder = project(tmp_path / "repo", {"s3": {"bucket": "locks", "key": f"{tmp_path.name}/dev.json"}})
    env = {"AWS_ENDPOINT_URL_S3": s3}
    with ThreadPoolExecutor(2) as pool:
        done = list(
            pool.map(lambda _: run(folder, "apply", "--auto-approve", "--lock-timeout", "2m", env=env), range(2))
        )
    assert [each.code for each in done] == [0, 0]
    assert sorted("No changes" in each.out for each in done) == [False, True]
    with outside(folder) as (ivs, _):
        assert len(ivs.list_channels()["channels"]) == 1


def test_unlock_without_any_lock_says_so(tmp_path: Path) -> None:
    folder = stack(tmp_path / "repo", {"channels": {}})
    said = run(folder, "unlock")
    assert said.code == 1
    assert "no selected target has a lock" in said.err


@pytest.mark.parametrize(
    ("lock", "said"),
    [
        ({}, "must have exactly one of s3 and file"),
        ({"file": "x", "s3": {"bucket": "abc", "key": "k"}}, "must have exactly one of s3 and file"),
    ],
)
def test_a_lock_names_one_place(tmp_path: Path, lock: dict[str, object], said: str) -> None:
    folder = project(tmp_path / "repo", lock)
    shown = run(folder, "validate")
    assert shown.code == 1
    assert said in shown.err
    assert ":8:" in shown.err or "ivs-reconciler.yaml:" in shown.err


def _s3() -> Any:
    return boto3.client("s3", region_name="us-west-2", aws_access_key_id="any", aws_secret_access_key="any")


def _put(bucket: str, key: str, content: bytes) -> None:
    _s3().put_object(Bucket=bucket, Key=key, Body=content)
