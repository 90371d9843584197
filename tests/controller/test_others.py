"""Controllers that share a ``state:`` in S3, as moto plays it: each page also shows the targets of the others."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import boto3
import pytest

from reconciler.controller import pages
from reconciler.controller.controller import Schedule
from reconciler.controller.others import OtherTarget
from reconciler.controller.state import Mode, RunStatus
from tests.cli.support import REGION
from tests.controller.world import World

BUCKET = "acme-controllers"
STATE = {"s3": {"bucket": BUCKET}}


@pytest.fixture
def s3(moto: str, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", moto)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "any")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "any")
    client = boto3.client("s3", region_name=REGION)
    client.create_bucket(Bucket=BUCKET, CreateBucketConfiguration={"LocationConstraint": REGION})
    return client


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
        assert "Could not be read, and may be old" in others_on(world)
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
