"""Records of applies in S3, as moto plays it: found by the next machine, never lost between two, and never a reason to fail."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from reconciler.model.address import Address, KindName
from reconciler.model.target import S3State
from reconciler.plan.decide import build_plan
from reconciler.plan.plan import PlanOptions
from reconciler.sandbox import Sandbox
from reconciler.workflow.history import record_apply, recorded_addresses
from reconciler.workflow.records import BucketUnusable, FolderRecords, S3Records, safe_name
from tests.builders import desired, live, of, wanted
from tests.cli.support import ACCOUNT, BUCKET, REGION, arn_of, client, outside, rewrite, run, stack
from tests.preloaded import Process

ONE: dict[str, object] = {"channels": {"one": {}, "two": {"streamKey": {}}}}
NEW: dict[str, object] = {"channels": {"one": {}, "two": {"streamKey": {}}, "three": {}}}


@pytest.fixture
def prefix(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return f"{tmp_path.parent.name}/{safe_name(request.node.name)}/".replace("%", "-")


@pytest.fixture
def folder(tmp_path: Path, prefix: str, s3: Any) -> Path:
    """A project whose target is applied, seen from another machine: nothing local is left of it."""
    made = stack(tmp_path / "repo", ONE, state={"s3": {"bucket": BUCKET, "prefix": prefix}})
    apply(made)
    return made


def apply(folder: Path, *words: str) -> str:
    ran = run(folder, "apply", "--auto-approve", *words)
    assert ran.code == 0, ran.err
    assert run(folder, "plan", "--detailed-exitcode").code == 0
    shutil.rmtree(folder / ".ivs-reconciler", ignore_errors=True)
    return ran.err


def drift(folder: Path) -> tuple[int, dict[str, str], str]:
    ran = run(folder, "drift", "--format", "json")
    (target,) = ran.json["targets"]
    found = {each["address"]: each["status"] for each in target["findings"] if "channel/" in each["address"]}
    return ran.code, found, "\n".join(target["notes"])


def key_of(prefix: str) -> str:
    return f"{prefix}acme-live/dev/applied.json"


def content_of(s3: Any, key: str) -> dict[str, Any]:
    found = json.loads(s3.get_object(Bucket=BUCKET, Key=key)["Body"].read())
    assert isinstance(found, dict)
    return found


def test_another_machine_distinguishes_missing_from_pending(folder: Path, s3: Any, prefix: str) -> None:
    record = content_of(s3, key_of(prefix))
    assert record["addresses"] == ["channel/one", "channel/two", "stream-key/two"]
    assert "sk_" not in json.dumps(record)
    rewrite(folder, NEW)
    assert drift(folder) == (5, {"channel/three": "pending"}, "")
    with outside(folder) as (ivs, _):
        ivs.delete_channel(arn=arn_of(ivs, "one"))
        ivs.update_channel(arn=arn_of(ivs, "two"), latencyMode="NORMAL")
    rewrite(folder, {"channels": {"one": {}, "two": {"streamKey": {}, "authorized": True}, "three": {}}})
    code, found, notes = drift(folder)
    assert (code, notes) == (2, "")
    assert found["channel/one"] == "missing"
    assert found["channel/three"] == "pending"
    assert 'expected "LOW", actual "NORMAL"' in run(folder, "drift").out, "what it was applied as is recorded"
    apply(folder)
    assert "channel/three" in content_of(s3, key_of(prefix))["addresses"]
    before = s3.head_object(Bucket=BUCKET, Key=key_of(prefix))["LastModified"]
    apply(folder)
    assert s3.head_object(Bucket=BUCKET, Key=key_of(prefix))["LastModified"] == before


def test_a_list_without_the_recorded_resources_is_refused_on_another_machine(folder: Path) -> None:
    with outside(folder) as (ivs, _):
        for channel in ivs.list_channels()["channels"]:
            ivs.delete_channel(arn=channel["arn"])
    planned = run(folder, "plan")
    assert planned.code == 3
    assert "AWS lists 0 of the 2 channels recorded at the last apply" in planned.err


def test_a_damaged_record_is_reported_ignored_and_written_again(folder: Path, s3: Any, prefix: str) -> None:
    with outside(folder) as (ivs, _):
        ivs.delete_channel(arn=arn_of(ivs, "one"))
    said = f"the record of the last apply, s3://{BUCKET}/{key_of(prefix)}, is damaged and ignored"
    for body in (b"not json", b"[]", b'{"formatVersion": "1.0", "addresses": 3}', b"\xff\xfe", b"[" * 100_000):
        s3.put_object(Bucket=BUCKET, Key=key_of(prefix), Body=body)
        code, found, notes = drift(folder)
        assert (code, found) == (2, {"channel/one": "missing"})
        assert said in notes
    assert said in apply(folder)
    assert content_of(s3, key_of(prefix))["addresses"] == ["channel/one", "channel/two", "stream-key/two"]


def test_a_bucket_that_cannot_be_reached_is_a_warning(tmp_path: Path, s3: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    del s3
    folder = stack(tmp_path / "repo", ONE, state={"s3": {"bucket": "no-such-bucket"}})
    ran = run(folder, "apply", "--auto-approve")
    assert ran.code == 0, ran.err
    assert "the record s3://no-such-bucket/acme-live/dev/applied.json cannot be used" in ran.err
    assert "drift cannot distinguish resources deleted outside from new ones" in ran.err
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", "http://127.0.0.1:9")
    folder = stack(tmp_path / "other", ONE, state={"s3": {"bucket": BUCKET, "prefix": "unreachable/"}})
    ran = run(folder, "apply", "--auto-approve")
    assert ran.code == 0, ran.err
    assert "was not written" in ran.err
    rewrite(folder, NEW)
    code, found, notes = drift(folder)
    assert (code, found) == (2, {"channel/three": "missing"})
    assert "the record of the last apply cannot be read and is ignored" in notes
    # The message is of the bucket, and the same for each target: the bucket is not tried again for a while.
    pauses: list[float] = []
    records = S3Records(S3State(BUCKET, "unreachable/", REGION), "acme", sleep=pauses.append)
    for target in ("one", "two"):
        with pytest.raises(BucketUnusable, match=f"^s3://{BUCKET} cannot be used: GetObject: (?!.*/(one|two)/)"):
            records.read(target)
    assert len(pauses) == 1


def test_a_bucket_that_cannot_be_reached_is_said_once_for_all_targets(
    tmp_path: Path, s3: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    del s3
    folder = stack(tmp_path / "repo", ONE, state={"s3": {"bucket": BUCKET, "prefix": "once/"}})
    project = yaml.safe_load((folder / "ivs-reconciler.yaml").read_text(encoding="utf-8"))
    project["targets"] = {name: {"region": REGION, "sandbox": f".sandbox/{name}.db"} for name in ("a", "b", "c")}
    (folder / "ivs-reconciler.yaml").write_text(yaml.safe_dump(project), encoding="utf-8")
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", "http://127.0.0.1:9")
    for words, executor in (("plan", ()), ("plan", ("--executor", "processes:2")), ("apply", ("--auto-approve",))):
        ran = run(folder, words, *executor)
        assert ran.code == 0, ran.err
        unread = [line for line in ran.err.splitlines() if "the record of the last apply cannot be read" in line]
        assert [line.partition(": the record")[0] for line in unread] == ["note: a, b and c"], ran.err
    unwritten = [line for line in ran.err.splitlines() if "the record of this apply was not written" in line]
    assert sorted(re.findall(r"\b[abc]\b", " ".join(line.partition(": the")[0] for line in unwritten))) == [
        "a",
        "b",
        "c",
    ]
    assert len(unwritten) == 2, ran.err


def test_two_writers_lose_no_record_of_each_other(s3: Any, prefix: str) -> None:
    del s3
    state = S3State(BUCKET, prefix, REGION)
    mine, theirs = S3Records(state, "acme"), S3Records(state, "acme")
    spec = desired(wanted("channel/one"), wanted("channel/two"))
    here_now = live(of(wanted("channel/one")))
    plan = build_plan(spec, here_now, PlanOptions(), target_name="dev")
    with pytest.raises(FileNotFoundError):
        mine.read(plan.name)
    both = live(of(wanted("channel/one")), of(wanted("channel/two")))
    assert record_apply(theirs, "acme", plan, both, None, spec) == ""
    assert not mine.write(plan.name, "{}", "")
    assert record_apply(mine, "acme", plan, here_now, None, spec) == ""
    found = recorded_addresses(theirs, "acme", plan.name, here_now)
    assert found == frozenset({Address(KindName.CHANNEL, "one"), Address(KindName.CHANNEL, "two")})
    theirs.refresh(plan.name)
    assert recorded_addresses(theirs, "acme", plan.name, here_now) == found
    assert not theirs.write(plan.name, "{}", '"0"')


def test_a_record_that_others_keep_changing_is_given_up_and_said(tmp_path: Path) -> None:
    class Contended(FolderRecords):
        """Another run writes before each write."""

        def write(self, target: str, text: str, token: str) -> bool:
            super().write(target, "{}", token)
            return False

    spec, there = desired(wanted("channel/one")), live(of(wanted("channel/one")))
    plan = build_plan(spec, there, PlanOptions(), target_name="dev")
    said = record_apply(Contended(tmp_path), "acme", plan, there, None, spec)
    assert said == ".ivs-reconciler/applied-dev.json: other runs keep changing it"


def test_a_project_file_says_where_and_a_pin_fixes_it(tmp_path: Path, s3: Any) -> None:
    del s3
    folder = stack(tmp_path / "repo", {"channels": {}}, state={"s3": {"bucket": "acme-other"}})
    pin = tmp_path / "pin.yaml"
    content = yaml.safe_load((folder / "ivs-reconciler.yaml").read_text(encoding="utf-8"))
    for pinned, code in (({"s3": {"bucket": BUCKET}}, 3), (None, 3), ({"s3": {"bucket": "acme-other"}}, 0)):
        pin.write_text(yaml.safe_dump({**content, "state": pinned}), encoding="utf-8")
        ran = run(folder, "plan", "--pin", str(pin))
        assert ran.code == code, ran.err
        assert ("state is not as in" in ran.err) == bool(code)
    shown = run(folder, "iam-policy", "apply").json["Statement"]
    found = {each["Sid"]: each for each in shown if "State" in each["Sid"] and "Wait" not in each["Sid"]}
    assert found["ReadState"]["Resource"] == ["arn:aws:s3:::acme-other/acme-live/*"]
    assert found["WriteState"]["Action"] == ["s3:PutObject"]
    assert found["ListStateBucket"]["Resource"] == "arn:aws:s3:::acme-other"
    wrong = {
        "state": {"s3": {"bucket": "No_Bucket", "prefix": "a b"}},
        "stack": "acme-live",
        "targets": {"dev": {"region": REGION, "accountId": ACCOUNT, "sandbox": "x.db"}},
    }
    (folder / "ivs-reconciler.yaml").write_text(yaml.safe_dump(wrong, sort_keys=False), encoding="utf-8")
    ran = run(folder, "validate")
    assert ran.code == 1
    assert "ivs-reconciler.yaml:3:" in ran.err + ran.out


@pytest.mark.parametrize(("prefix", "place"), [("ivs", "ivs/"), ("ops/ivs/", "ops/ivs/"), ("", ""), (None, "")])
def test_a_prefix_is_a_folder_with_and_without_its_last_slash(tmp_path: Path, prefix: str | None, place: str) -> None:
    folder = stack(tmp_path / "repo", {"channels": {}}, state={"s3": {"bucket": BUCKET, "prefix": prefix}})
    shown = run(folder, "iam-policy", "apply").json["Statement"]
    (found,) = (each["Resource"] for each in shown if each["Sid"] == "ReadState")
    assert found == [f"arn:aws:s3:::{BUCKET}/{place}acme-live/*"]


def test_an_apply_that_is_killed_is_finished_by_another_machine(tmp_path: Path, s3: Any, prefix: str) -> None:
    """SIGKILL leaves no record: what was made is found in the account, and nothing is made twice."""
    state = {"s3": {"bucket": BUCKET, "prefix": prefix}}
    with Sandbox() as sandbox:
        first = stack(
            tmp_path / "first", ONE, target={"sandbox": None, "endpointUrl": sandbox.endpoint_url}, state=state
        )
        env = {"AWS_ACCESS_KEY_ID": ACCOUNT, "AWS_SECRET_ACCESS_KEY": "any"}
        assert run(first, "apply", "--auto-approve", env=env).code == 0
        names = ["one", "three", *(f"c{number:02}" for number in range(30))]
        many: dict[str, object] = {"channels": {"two": {"streamKey": {}}, **{name: {} for name in names}}}
        rewrite(first, many)
        sandbox.control.add_fault("delay", operation="CreateChannel", seconds=0.3, times=None)
        ivs = client(sandbox.endpoint_url)
        with Process(
            ["apply", "--auto-approve"],
            cwd=first,
            env={**os.environ, **env},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        ) as killed:
            while len(ivs.list_channels(maxResults=100)["channels"]) < 4 and killed.poll() is None:
                pass
            killed.kill()
        # Is answered after the calls that were in flight.
        client(sandbox.endpoint_url, account="999999999999").create_channel(name="last")
        sandbox.control.clear_faults()
        second = tmp_path / "second"
        shutil.copytree(first, second, ignore=shutil.ignore_patterns(".ivs-reconciler"))
        assert "channel/c29" not in content_of(s3, key_of(prefix))["addresses"]
        ran = run(second, "drift", env=env)
        assert ran.code == 2, "the record is older than what is there: a deletion is not hidden"
        assert run(second, "apply", "--auto-approve", env=env).code == 0
        assert run(second, "plan", "--detailed-exitcode", env=env).code == 0
        names = [each["name"] for each in ivs.list_channels(maxResults=100)["channels"]]
        assert len(names) == len(set(names)) == 33
        assert "channel/c29" in content_of(s3, key_of(prefix))["addresses"]
