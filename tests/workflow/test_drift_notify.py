"""``drift --notify`` as a cron job runs it: once for each change of state, per receiver and target, with failures on the way."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.cli.support import arn_of, outside, rewrite, run, stack
from tests.workflow.hook import SECRET_PATH, Hook, hook

RECEIVERS = {"ops": {"slack": {"urlEnv": "OPS_URL"}}, "audit": {"webhook": {"urlEnv": "AUDIT_URL"}}}
SPEC: dict[str, Any] = {"channels": {"main": {}, "side": {}}}


def project(folder: Path) -> Path:
    made = stack(folder, SPEC, receivers=RECEIVERS)
    assert run(made, "apply", "--auto-approve").code == 0
    return made


def changed(folder: Path, name: str = "main", mode: str = "NORMAL", db: str = ".sandbox/dev.db") -> None:
    with outside(folder, db) as (ivs, _):
        ivs.update_channel(arn=arn_of(ivs, name), latencyMode=mode)


def urls(ops: Hook, audit: Hook) -> dict[str, str]:
    return {"OPS_URL": ops.url, "AUDIT_URL": audit.url}


def test_each_receiver_is_notified_once_of_drift_and_once_of_its_end(tmp_path: Path) -> None:
    folder = project(tmp_path / "repo")
    with hook() as ops, hook() as audit:
        env = urls(ops, audit)
        assert (run(folder, "drift", "--notify", env=env).code, len(ops.got)) == (0, 0)
        changed(folder)
        first = run(folder, "drift", "--notify", "--link", "https://ci.example/7", env=env)
        assert first.code == 2
        assert first.err == "notification to ops, target dev: sent\nnotification to audit, target dev: sent\n"
        again = run(folder, "drift", "--notify", env=env)
        assert (again.code, again.err) == (2, "")
        changed(folder, mode="LOW")
        assert run(folder, "drift", "--notify", env=env).code == 0
        assert run(folder, "drift", "--notify", env=env).err == ""
    assert [len(each.got) for each in (ops, audit)] == [2, 2]
    told = [json.loads(got.body)["text"] for got in ops.got]
    assert "channel/main: drifted in latencyMode" in told[0]
    assert "https://ci.example/7" in told[0]
    assert "all resolved" in told[1]


def test_a_delivery_failure_changes_no_exit_code_and_is_retried_for_that_receiver_alone(tmp_path: Path) -> None:
    folder = project(tmp_path / "repo")
    changed(folder)
    with hook() as ops, hook() as audit:
        env = urls(ops, audit)
        ops.answers = [404]
        failed = run(folder, "drift", "--notify", "--state", "kept/state.json", env=env)
        assert failed.code == 2
        assert "notification to ops, target dev: HTTP 404, Not Found\n" in failed.err
        assert SECRET_PATH not in failed.err + failed.out
        assert run(folder, "drift", "--notify", "--state", "kept/state.json", env=env).code == 2
        assert [len(ops.got), len(audit.got)] == [2, 1]
        quiet = run(folder, "drift", "--notify", "--state", "kept/state.json", env=env)
        assert (quiet.code, quiet.err) == (2, "")
    assert not (folder / ".ivs-reconciler" / "told.json").exists()


def test_a_partial_report_resolves_nothing_and_an_unreadable_target_is_sent(tmp_path: Path) -> None:
    folder = stack(tmp_path / "repo", SPEC, receivers=RECEIVERS)
    content = (folder / "ivs-reconciler.yaml").read_text(encoding="utf-8")
    two = content.replace("targets:\n", "targets:\n  two: {region: us-west-2, sandbox: .sandbox/two.db}\n")
    (folder / "ivs-reconciler.yaml").write_text(two, encoding="utf-8")
    assert run(folder, "apply", "--auto-approve").code == 0
    changed(folder, db=".sandbox/two.db")
    with hook() as ops, hook() as audit:
        env = urls(ops, audit)
        shown = run(folder, "drift", "--notify", env=env)
        assert (shown.code, len(ops.got)) == (2, 1)
        away = two.replace("sandbox: .sandbox/two.db", 'endpointUrl: "http://127.0.0.1:9"')
        (folder / "ivs-reconciler.yaml").write_text(away, encoding="utf-8")
        keys = {"AWS_ACCESS_KEY_ID": "123456789012", "AWS_SECRET_ACCESS_KEY": "any"}
        assert run(folder, "drift", "--notify", env={**env, **keys}).code == 1
        assert run(folder, "drift", "--notify", env={**env, **keys}).code == 1
    texts = [json.loads(got.body) for got in audit.got]
    assert [(text["target"], text["state"], text["resolved"]) for text in texts] == [
        ("two", "open", []),
        ("two", "unreadable", []),
    ]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--link", "https://x"), "need --notify"),
        (("--state", "x.json"), "need --notify"),
        (("--notify", "--state", "specs/live.yaml"), "--state"),
    ],
)
def test_what_cannot_be_is_refused_before_anything_is_read(tmp_path: Path, words: tuple[str, ...], said: str) -> None:
    folder = stack(tmp_path / "repo", SPEC, receivers=RECEIVERS)
    shown = run(folder, "drift", *words)
    assert (shown.code, shown.out) == (1, "")
    assert said in shown.err
    assert not (folder / ".sandbox").exists()


def test_notify_without_receivers_is_refused(tmp_path: Path) -> None:
    folder = stack(tmp_path / "repo", SPEC)
    shown = run(folder, "drift", "--notify")
    assert shown.code == 1
    assert "no receivers are configured" in shown.err


def test_pending_changes_are_not_sent_by_default(tmp_path: Path) -> None:
    folder = project(tmp_path / "repo")
    rewrite(folder, {"channels": {"main": {"latencyMode": "NORMAL"}, "side": {}}})
    with hook() as ops, hook() as audit:
        assert run(folder, "drift", "--notify", env=urls(ops, audit)).code == 5
        assert ops.got == []
