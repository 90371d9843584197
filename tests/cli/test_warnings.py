"""A warning appears once, for any number of targets and outputs."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cli.support import REGION, arn_of, outside, rewrite, run, stack


@pytest.mark.parametrize("verb", [("validate",), ("plan",), ("apply", "--auto-approve"), ("plan", "-v")])
def test_a_warning_of_several_targets_appears_once(tmp_path: Path, verb: tuple[str, ...]) -> None:
    targets = {
        name: {"region": REGION, "sandbox": f".sandbox/{name}.db", "specs": ["specs/*.yaml", f"more/{name}.yaml"]}
        for name in ("dev", "prod", "test")
    }
    folder = stack(tmp_path / "repo", {"channels": {"a": {"authorized": True}}}, targets=targets)
    (folder / "more").mkdir()
    for number, name in enumerate(targets):
        channels = "".join(f"  z{index}: {{authorized: true}}\n" for index in range(number))
        (folder / "more" / f"{name}.yaml").write_text(
            f"channels:\n{channels}" if channels else "{}\n", encoding="utf-8"
        )
    ran = run(folder, *verb)
    assert ran.code == 0, ran.err
    (warning,) = [line for line in (ran.out + ran.err).splitlines() if "no playback key pair" in line]
    assert "channel/a" in warning
    assert "(also 2 other channels)" in warning


def test_warnings_of_different_places_are_all_shown(tmp_path: Path) -> None:
    folder = stack(tmp_path / "repo", {"channels": {"a": {"authorized": True}}})
    rewrite(
        folder,
        {
            "playbackRestrictionPolicies": {"eu": {"allowedCountries": ["DE"]}},
            "channels": {"b": {"authorized": True, "playbackRestrictionPolicy": "eu"}},
        },
        "more.yaml",
    )
    lines = [line for line in run(folder, "validate").out.splitlines() if line.startswith("warning: ")]
    assert len(lines) == 2


@pytest.mark.parametrize("words", [(), ("-v",), ("--log-format", "json")])
def test_a_notification_that_fails_is_said_once(tmp_path: Path, words: tuple[str, ...]) -> None:
    folder = stack(tmp_path / "repo", {"channels": {"a": {}}}, receivers={"chat": {"webhook": {"urlEnv": "HOOK"}}})
    assert run(folder, "apply", "--auto-approve").code == 0
    with outside(folder) as (ivs, _):
        ivs.update_channel(arn=arn_of(ivs, "a"), latencyMode="NORMAL")
    ran = run(folder, "drift", "--notify", *words, env={"HOOK": "http://127.0.0.1:9/hook"})
    assert ran.code == 2
    assert ran.err.count("cannot connect") == 1
    assert "notification to chat, target dev: cannot connect" in ran.err
