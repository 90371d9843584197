"""Controllers that share a ``state:`` in S3, as moto plays it: each page also shows the targets of the others."""

from __future__ import annotations

import json
import re
import signal
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

from reconciler.controller import pages
from reconciler.controller.controller import Schedule
from reconciler.controller.state import Mode, OtherTarget, RunStatus
from reconciler.sandbox import Sandbox
from tests.cli.support import ACCOUNT, BUCKET, REGION, client
from tests.controller.process import Running, running, until
from tests.controller.repos import Repo
from tests.controller.world import World

STATE = {"s3": {"bucket": BUCKET}}


def others_on(world: World) -> str:
    """Return the section of the overview about other controllers, as text."""
    page = pages.overview(world.controller.snapshot(), world.store, {})
    _, _, section = page.partition('id="others"')
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", section.partition("</section>")[0]))


def test_each_page_shows_the_targets_of_the_others(tmp_path: Path, s3: Any) -> None:
    with World(tmp_path, "dev", "prod", schedule=Schedule(mode=Mode.APPLY)) as world:
        commit = world.repo.commit({"ivs-reconciler.yaml": world.project(state=STATE)}, "Share")
        world.store.close()
        world.begin(targets=("dev",))
        world.settle()
        assert world.last("dev").status is RunStatus.APPLIED
        assert "dev" not in others_on(world)
        world.pass_time(700)
        told = json.loads(s3.get_object(Bucket=BUCKET, Key="acme-live/dev/reconciled.json")["Body"].read())
        assert (told["status"], told["applied"]["done"], told["commit"]) == ("in-sync", 2, commit)
        assert "sk_" not in json.dumps(told)

        # A controller of the other shard, on another machine.
        world.store.close()
        world.folder = tmp_path / "second"
        world.folder.mkdir()
        world.begin(targets=("prod",))
        world.settle()
        world.pass_time(700)
        found = others_on(world)
        assert "dev" in found
        assert "prod" not in found
        assert re.search(rf"in sync .*{commit[:10]} .* ago .* ago , 2 actions, {commit[:10]}", found), found
        assert world.last("prod").status in (RunStatus.APPLIED, RunStatus.IN_SYNC)

        # A suspension is one controller's own, and its page says so.
        assert "in this controller only" not in (
            pages.target(world.controller.snapshot(), world.store, "prod", {}) or ""
        )
        world.store.suspend("prod", suspended=True)
        world.step()
        assert "in this controller only" in (pages.target(world.controller.snapshot(), world.store, "prod", {}) or "")
        world.store.suspend("prod", suspended=False)

        # What anybody may write there is checked, and is text.
        for name, body in {
            "dev": json.dumps({**told, "message": "<script>alert(1)</script>", "status": "failed"}),
            "gone": json.dumps({**told, "target": "gone"}),
            "wrong": json.dumps({**told, "commit": "javascript:x"}),
            "list": "[]",
            "no": "no json",
        }.items():
            s3.put_object(Bucket=BUCKET, Key=f"acme-live/{name}/reconciled.json", Body=body.encode())
        s3.put_object(Bucket=BUCKET, Key="acme-live/big/reconciled.json", Body=b" " * 100_000)
        world.pass_time(700)
        page = pages.overview(world.controller.snapshot(), world.store, {})
        assert "<script>alert" not in page
        assert "&lt;script&gt;" in page
        assert [one.target for one in world.controller.snapshot().others.targets] == ["dev", "prod"]

        # The bucket is gone: reconciliation goes on, and the page says that the rest is old.
        for item in s3.list_objects_v2(Bucket=BUCKET)["Contents"]:
            s3.delete_object(Bucket=BUCKET, Key=item["Key"])
        s3.delete_bucket(Bucket=BUCKET)
        world.pass_time(700)
        assert world.last("prod").status is RunStatus.IN_SYNC
        assert "May be old: reading failed" in others_on(world)
        assert "dev" in others_on(world)


def test_a_report_is_read_as_it_was_written_and_nothing_else() -> None:
    told = OtherTarget(
        "acme", "dev", "123456789012", REGION, "pod-0", "a" * 40, "apply", RunStatus.FAILED, 5.5, 1, 2, 3, "x"
    )
    assert OtherTarget.from_json(told.to_json()) == told
    content = json.loads(told.to_json())
    for name in content:
        without = {key: value for key, value in content.items() if key != name}
        assert OtherTarget.from_json(json.dumps(without)) is None
        if name != "applied":
            assert OtherTarget.from_json(json.dumps({**content, name: None})) is None
    for wrong in ({"at": float("nan")}, {"at": -1}, {"managed": True}, {"applied": {"at": 1}}, {"status": "x"}):
        assert OtherTarget.from_json(json.dumps({**content, **wrong})) is None
    half = OtherTarget.from_json(json.dumps({**content, "message": "\ud800"}))
    assert half is not None
    assert half.message.encode() == b"?"  # a page of it can be encoded


CONTROL = {"IVS_RECONCILER_CONTROL_TOKEN": "control-token"}
CHANNELS = [f"c{number:02}" for number in range(12)]


def shared_target(folder: Path, sandbox: Sandbox, prefix: str) -> Repo:
    """A repository whose only target has its lock and its state in S3."""
    repo = Repo(folder / "repo")
    target = {
        "region": REGION,
        "accountId": ACCOUNT,
        "endpointUrl": sandbox.endpoint_url,
        "lock": {"s3": {"bucket": BUCKET, "key": f"{prefix}dev.lock"}},
    }
    project = {"stack": "acme-live", "state": {"s3": {"bucket": BUCKET, "prefix": prefix}}, "targets": {"dev": target}}
    repo.commit({"ivs-reconciler.yaml": project, "specs/live.yaml": {"channels": {name: {} for name in CHANNELS}}})
    return repo


def ends_in_sync(controller: Running) -> None:
    """Reconcile now, and again until nothing is due."""

    def is_in_sync() -> bool:
        seen = len(controller.lines("reconciled"))
        controller.ask("/reconcile?target=dev", "POST", Authorization="Bearer control-token")
        until(lambda: len(controller.lines("reconciled")) > seen)
        return bool(controller.lines("reconciled")[-1]["status"] == "in-sync")

    until(is_in_sync)
    assert "in sync" in controller.ask("/targets/dev")[1]


def check_account(sandbox: Sandbox, s3: Any, repo: Repo, prefix: str) -> None:
    """Everything exists once, and what the controllers share says so."""
    names = [each["name"] for each in client(sandbox.endpoint_url).list_channels(maxResults=100)["channels"]]
    assert sorted(names) == CHANNELS
    assert len(sandbox.control.calls(operation="CreateChannel", limit=1_000)) == len(CHANNELS)
    shared = {
        name: json.loads(s3.get_object(Bucket=BUCKET, Key=f"{prefix}acme-live/dev/{name}.json")["Body"].read())
        for name in ("applied", "reconciled")
    }
    assert shared["applied"]["addresses"] == [f"channel/{name}" for name in CHANNELS]
    assert shared["applied"]["commit"] == repo.head
    told = shared["reconciled"]
    assert (told["status"], told["managed"], told["drifted"], told["pending"]) == ("in-sync", len(CHANNELS), 0, 0)


@contextmanager
def one_target_of_several(
    folder: Path, s3: Any, prefix: str
) -> Iterator[tuple[Sandbox, Callable[[str], AbstractContextManager[Running]]]]:
    """Yield a sandbox, and a function that starts a controller of a name; at the end, check the account."""
    with Sandbox() as sandbox:
        repo = shared_target(folder, sandbox, prefix)

        def started(name: str) -> AbstractContextManager[Running]:
            (folder / name).mkdir()
            words = ("--repo", str(repo.folder), "--mode", "apply", "--interval", "1h")
            return running(folder / name, *words, env=CONTROL)

        yield sandbox, started
        check_account(sandbox, s3, repo, prefix)


def test_of_two_controllers_at_one_target_one_applies_and_the_other_names_it(tmp_path: Path, s3: Any) -> None:
    prefix = "held/"
    with one_target_of_several(tmp_path, s3, prefix) as (sandbox, started):
        sandbox.control.add_fault("delay", operation="CreateChannel", seconds=10, times=None)
        with started("first") as first:
            until(lambda: "Contents" in s3.list_objects_v2(Bucket=BUCKET, Prefix=f"{prefix}dev.lock"))
            first.process.send_signal(signal.SIGSTOP)  # it holds the lock for as long as its lease
            assert not first.lines("reconciled")
            sandbox.control.clear_faults()
            with started("second") as second:
                until(lambda: bool(second.lines("reconciled")))
                (line,) = second.lines("reconciled")
                assert line["status"] == "refused"
                assert f"s3://{BUCKET}/{prefix}dev.lock is held by" in line["message"]
                assert line["next_in"] <= 30, "it does not wait for its interval"
                assert "is held by" in second.ask("/targets/dev")[1]
                first.process.send_signal(signal.SIGCONT)
                until(lambda: bool(first.lines("reconciled")))
                assert first.lines("reconciled")[0]["status"] == "applied"
                for controller in (second, first):
                    ends_in_sync(controller)
                assert not any(line["done"] for line in second.lines("reconciled"))


def test_two_controllers_that_start_together_duplicate_nothing(tmp_path: Path, s3: Any) -> None:
    with (
        one_target_of_several(tmp_path, s3, "together/") as (_, started),
        started("first") as first,
        started("second") as second,
    ):
        for controller in (first, second):
            until(lambda controller=controller: bool(controller.lines("reconciled")))  # type: ignore[misc]
        for controller in (first, second):
            ends_in_sync(controller)
        found = [line["done"] for each in (first, second) for line in each.lines("reconciled")]
        assert sum(found) == len(CHANNELS)
