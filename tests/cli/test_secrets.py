"""One canary over every sink: no secret that the account holds occurs in any output, log, plan or file of the tool."""

from __future__ import annotations

import subprocess
from pathlib import Path

from tests.cli.support import arn_of, outside, rewrite, run, stack

PRIVATE = "MIGkAgEBBDCanaryCanaryCanaryCanaryCanaryCanaryCanaryCanaryCanary"


def secrets_of(folder: Path) -> list[str]:
    with outside(folder) as (ivs, _):
        found = []
        for summary in ivs.list_channels()["channels"]:
            channel = ivs.get_channel(arn=summary["arn"])["channel"]
            found.append(channel["srt"]["passphrase"])
            keys = ivs.list_stream_keys(channelArn=summary["arn"], maxResults=50)["streamKeys"]
            found += [ivs.get_stream_key(arn=key["arn"])["streamKey"]["value"] for key in keys]
    return found


def test_no_secret_occurs_in_any_output_log_plan_or_file(tmp_path: Path) -> None:
    folder = stack(
        tmp_path / "repo", {"channels": {"a": {"streamKey": {}}, "b": {"streamKey": {}, "insecureIngest": True}}}
    )
    said: list[str] = []

    def tell(*words: str) -> None:
        for extra in ((), ("-vv", "--log-format", "json"), ("-vv", "--log-format", "console")):
            ran = run(folder, *words, *extra)
            said.extend((ran.out, ran.err))

    tell("plan", "--out", "p.json")
    tell("apply", "--auto-approve", "--format", "json")
    tell("plan", "--format", "json")
    rewrite(
        folder,
        {
            "channels": {
                "a": {"streamKey": {"tags": {"x": "1"}}, "latencyMode": "NORMAL"},
                "b": {},
                "c": {"streamKey": {}},
            }
        },
    )
    for view in ("text", "json", "markdown", "html"):
        tell("plan", "--format", view)
    tell("drift")
    with outside(folder) as (ivs, sandbox):
        sandbox.control.go_live(arn_of(ivs, "a"), viewers=3)
    tell("apply", "--auto-approve")
    (folder / "specs" / "keys.yaml").write_text(
        f"playbackKeyPairs:\n  web:\n    publicKeyMaterial: |\n      -----BEGIN EC PRIVATE KEY-----\n      {PRIVATE}\n      -----END EC PRIVATE KEY-----\n",
        encoding="utf-8",
    )
    tell("validate")
    tell("validate", "--format", "json")
    tell("plan")
    secrets = secrets_of(folder)
    assert len(secrets) >= 6
    everything = "\n".join(said) + "\n".join(
        path.read_text(encoding="utf-8", errors="replace")
        for path in folder.rglob("*")
        if path.is_file() and ".sandbox" not in path.parts and path.name != "keys.yaml"
    )
    assert "PRIVATE" in everything.upper()
    assert [secret for secret in [*secrets, PRIVATE] if secret in everything] == []


def test_the_tool_never_asks_for_a_stream_keys_value(tmp_path: Path) -> None:
    folder = stack(tmp_path / "repo", {"channels": {"a": {"streamKey": {}}}})
    for words in (("plan",), ("apply", "--auto-approve"), ("drift",)):
        assert run(folder, *words).code == 0
    with outside(folder) as (_, sandbox):
        asked = {call["operation"] for call in sandbox.control.calls(limit=1000)}
    assert asked
    assert not asked & {"GetStreamKey", "BatchGetStreamKey"}


def test_a_plan_names_the_commit_it_was_made_from(tmp_path: Path) -> None:
    folder = stack(tmp_path / "repo", {"channels": {"a": {}}})
    subprocess.run(["git", "init", "-q"], cwd=folder, check=True)
    subprocess.run(
        ["git", "-c", "user.name=t", "-c", "user.email=t@example.com", "commit", "-q", "--allow-empty", "-m", "one"],
        cwd=folder,
        check=True,
    )
    commit = subprocess.run(
        ["git", "rev-parse", "HEAD"], cwd=folder, check=True, capture_output=True, text=True
    ).stdout.strip()
    assert run(folder, "plan", "--format", "json").json["gitCommit"] == commit
