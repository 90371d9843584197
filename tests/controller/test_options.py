from __future__ import annotations

from pathlib import Path

import pytest

from reconciler.controller.config import parse_duration, parse_percent, read_options
from reconciler.controller.state import Mode
from reconciler.errors import SpecError, UsageError

WHOLE = """\
controller:
  repository:
    url: https://git.example.com/acme/live.git
    branch: release
    path: infra/ivs
    tokenFile: secrets/token
    allowedSignersFile: /etc/signers
  state: work
  pinFile: pin.yaml
  allowPaths: [/srv/ivs, work]
  listen: 0.0.0.0:8080
  fetchInterval: 90s
  interval: 15m
  jitterPercent: 20
  mode: plan
  guardrails: {maxDeletes: 2, maxDeletePercent: 5, maxUpdates: 0, maxUpdatePercent: 100}
  targets:
    prod: {mode: apply, interval: 5m}
    dev: {mode: observe}
  retention: {days: 7, runs: 100}
  controlTokenFile: secrets/control
  webhooks: {githubSecretFile: secrets/github, gitlabTokenFile: secrets/gitlab}
  targetsAtOnce: 2
"""


def test_everything_may_be_said_and_paths_start_from_the_file(tmp_path: Path) -> None:
    path = tmp_path / "controller.yaml"
    path.write_text(WHOLE)
    options = read_options(path)
    assert (options.url, options.branch, options.path) == (
        "https://git.example.com/acme/live.git",
        "release",
        "infra/ivs",
    )
    assert (options.token_file, options.allowed_signers, options.state) == (
        str(tmp_path / "secrets/token"),
        "/etc/signers",
        str(tmp_path / "work"),
    )
    assert (options.fetch_interval, options.interval, options.jitter) == (90, 900, 20)
    assert (options.mode, options.modes, options.intervals) == (
        Mode.PLAN,
        {"prod": Mode.APPLY, "dev": Mode.OBSERVE},
        {"prod": 300},
    )
    assert (options.pin, options.allowed_paths) == (str(tmp_path / "pin.yaml"), ("/srv/ivs", str(tmp_path / "work")))
    assert options.guardrails == {
        "max_deletes": 2,
        "max_delete_percent": 5,
        "max_updates": 0,
        "max_update_percent": 100,
    }
    assert (options.keep_days, options.keep_runs, options.at_once) == (7, 100, 2)
    assert (options.control_token_file, options.webhook_files) == (
        str(tmp_path / "secrets/control"),
        {"github": str(tmp_path / "secrets/github"), "gitlab": str(tmp_path / "secrets/gitlab")},
    )


def test_every_problem_is_said_at_once_with_its_place(tmp_path: Path) -> None:
    path = tmp_path / "controller.yaml"
    path.write_text(
        "controller:\n  intervall: 5m\n  interval: soon\n  mode: aply\n  repository: {url: 7, brunch: main}\n"
        "  targets:\n    prod: {mode: apply, every: 5m}\n    dev: apply\n  retention: {days: 0}\n  jitterPercent: 91\n  guardrails: {maxDeletes: null, maxDeletePercent: 101, maxUpdates: -1, onLive: wait}\n  allowPaths: /srv\n"
    )
    with pytest.raises(SpecError) as caught:
        read_options(path)
    lines = str(caught.value).splitlines()
    assert [line.split(": ")[0] + ": " + line.split(": ")[1] for line in lines] == [
        f"{path}:2:3: controller.intervall",
        f"{path}:3:13: controller.interval",
        f"{path}:4:9: controller.mode",
        f"{path}:5:21: controller.repository.url",
        f"{path}:5:24: controller.repository.brunch",
        f"{path}:7:25: controller.targets.prod.every",
        f"{path}:8:5: controller.targets.dev",
        f"{path}:9:21: controller.retention.days",
        f"{path}:10:18: controller.jitterPercent",
        f"{path}:11:28: controller.guardrails.maxDeletes",
        f"{path}:11:52: controller.guardrails.maxDeletePercent",
        f"{path}:11:69: controller.guardrails.maxUpdates",
        f"{path}:11:73: controller.guardrails.onLive",
        f"{path}:12:15: controller.allowPaths",
    ]
    assert 'did you mean "interval"?' in lines[0]
    assert 'did you mean "branch"?' in lines[4]


@pytest.mark.parametrize(
    "text", ["", "controller:\n", "controller: [1]\n", "stack: acme\n", "controller: {}\nmore: 1\n", "- 1\n"]
)
def test_another_file_is_not_taken_for_settings(tmp_path: Path, text: str) -> None:
    path = tmp_path / "controller.yaml"
    path.write_text(text)
    with pytest.raises(SpecError, match="put the settings under controller:"):
        read_options(path)


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"nowhere\.yaml: no such file"):
        read_options(tmp_path / "nowhere.yaml")


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("90", 90), ("90s", 90), ("10m", 600), ("6h", 21_600), ("1d", 86_400), (45, 45), ("366d", 31_622_400)],
)
def test_times(text: object, seconds: float) -> None:
    assert parse_duration(text) == seconds


@pytest.mark.parametrize("text", ["", "0", "0m", "-5m", "1.5h", "5 m", "soon", True, None, "1w", "367d", "١s"])
def test_what_is_no_time(text: object) -> None:
    with pytest.raises(ValueError, match="is not a duration of at most 366 days"):
        parse_duration(text)


def test_a_whole_percentage_of_jitter_would_allow_no_pause_at_all() -> None:
    with pytest.raises(ValueError, match="from 0 to 90"):
        parse_percent(100)
