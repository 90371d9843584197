"""What a project file becomes."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from reconciler.model.target import Guardrails, OnLive, Project, Target
from reconciler.spec.project import load_project
from tests.spec.support import PROJECT, problems_of, write


def project(folder: Path, text: str) -> Project:
    return load_project(write(folder, {}, text))


def target(folder: Path, fields: str) -> Target:
    return project(folder, f"stack: acme\ntargets:\n  t: {{region: us-west-2, {fields}}}\n").targets["t"]


def test_the_least_project_has_every_default(tmp_path: Path) -> None:
    assert project(tmp_path, "stack: acme\ntargets: {dev: {region: eu-west-1}}\n") == Project(
        path=str(tmp_path / "ivs-reconciler.yaml"),
        root=str(tmp_path),
        stack="acme",
        specs=("specs/**/*.yaml", "specs/**/*.yml"),
        default_tags={},
        default_channel={},
        ignore_tags=(),
        targets={"dev": Target("dev", "eu-west-1")},
        guardrails=Guardrails(20, 30, None, None, OnLive.BLOCK),
    )


def test_everything_can_be_written(tmp_path: Path) -> None:
    text = """\
stack: acme.live_1-x
specs: [a.yaml, "b/**/*.yaml"]
defaults:
  tags: {team: video}
  channel: {type: STANDARD, recordingConfiguration: archive, protect: true, ignoreChanges: [tags/x], tags: {a: b}, preset: null}
targets:
  prod:
    region: us-west-2
    accountId: "123456789012"
    roleArn: arn:aws:iam::123456789012:role/path/ivs-reconciler
    externalId: "x7"
    profile: prod
    endpointUrl: https://ivs.example.com
    rateLimits: aws
    prune: true
    specs: [prod.yaml]
  dev: {region: ap-south-1, sandbox: state/dev.db, accountId: "000000000001"}
guardrails: {maxDeletes: 0, maxDeletePercent: null, maxUpdates: 7, maxUpdatePercent: 100, onLive: wait, liveDeadline: 2h}
ignoreTags: ["cost-*", owner]
"""
    assert project(tmp_path, text) == Project(
        path=str(tmp_path / "ivs-reconciler.yaml"),
        root=str(tmp_path),
        stack="acme.live_1-x",
        specs=("a.yaml", "b/**/*.yaml"),
        default_tags={"team": "video"},
        default_channel={
            "type": "STANDARD",
            "recordingConfiguration": "archive",
            "protect": True,
            "ignoreChanges": ["tags/x"],
            "tags": {"a": "b"},
        },
        ignore_tags=("cost-*", "owner"),
        targets={
            "prod": Target(
                name="prod",
                region="us-west-2",
                account_id="123456789012",
                role_arn="arn:aws:iam::123456789012:role/path/ivs-reconciler",
                external_id="x7",
                profile="prod",
                endpoint_url="https://ivs.example.com",
                prune=True,
                paced=True,
                specs=("prod.yaml",),
            ),
            "dev": Target(
                name="dev",
                region="ap-south-1",
                account_id="000000000001",
                sandbox=str(tmp_path / "state" / "dev.db"),
                paced=False,
            ),
        },
        guardrails=Guardrails(0, None, 7, 100, OnLive.WAIT, 7200),
    )


@pytest.mark.parametrize(
    ("fields", "paced"),
    [
        ("", True),
        ("rateLimits: off", False),
        ("sandbox: x.db", False),
        ("sandbox: x.db, rateLimits: aws", True),
        ('endpointUrl: "http://localhost:4566"', False),
        ('endpointUrl: "http://127.0.0.1:80/"', False),
        ('endpointUrl: "http://127.8.9.1"', False),
        ('endpointUrl: "http://[::1]:8080"', False),
        ('endpointUrl: "http://ivs.localhost"', False),
        ('endpointUrl: "https://localhost.example.com"', True),
        ('endpointUrl: "https://10.0.0.1"', True),
        ('endpointUrl: "http://localhost:4566", rateLimits: aws', True),
    ],
)
def test_calls_keep_to_the_rates_of_aws_unless_the_server_is_here(fields: str, paced: bool, tmp_path: Path) -> None:
    assert target(tmp_path, fields).paced is paced


@pytest.mark.parametrize(
    ("written", "meant"), [("x.db", "{root}/x.db"), ("./a/../x.db", "{root}/x.db"), ("{root}/a/x.db", "{root}/a/x.db")]
)
def test_the_state_file_of_a_sandbox_is_found_from_the_project_file(written: str, meant: str, tmp_path: Path) -> None:
    assert target(tmp_path, f'sandbox: "{written.format(root=tmp_path)}"').sandbox == meant.format(root=tmp_path)


def test_limits_left_out_are_the_standard_ones_and_null_turns_one_off(tmp_path: Path) -> None:
    assert project(tmp_path, PROJECT + "guardrails: {}\n").guardrails == Guardrails()
    assert project(tmp_path, PROJECT + "guardrails: {maxDeletes: ~}\n").guardrails == Guardrails(max_deletes=None)
    assert project(tmp_path, PROJECT + "guardrails:\n").guardrails == Guardrails()


@pytest.mark.parametrize(
    "region", ["us-east-1", "us-west-2", "eu-west-1", "eu-central-1", "ap-northeast-1", "ap-northeast-2", "ap-south-1"]
)
def test_the_seven_home_regions_are_regions(region: str, tmp_path: Path) -> None:
    assert project(tmp_path, f"stack: a\ntargets: {{t: {{region: {region}}}}}\n").targets["t"].region == region


@pytest.mark.parametrize("stack", ["a" * 129, "a b", "a/b", '""', "ü", '"a\\n"'])
def test_a_stack_name_fits_into_a_tag(stack: str, tmp_path: Path) -> None:
    (problem,) = problems_of(write(tmp_path, {}, PROJECT.replace("acme", stack)))
    assert "is not a valid stack name" in problem
    assert problem.startswith("ivs-reconciler.yaml:1:8: ")


def test_a_project_is_validated_without_the_packages_that_reach_aws_or_compare(tmp_path: Path) -> None:
    write(tmp_path, {"specs/a.yaml": "channels: {a: {type: BASIC}}\n"})
    script = "import sys; from reconciler.cli.main import main; main(['validate']); print(*{name.partition('.')[0] for name in sys.modules})"
    ran = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, cwd=tmp_path, check=True)
    assert "pydantic" in ran.stdout.split()
    assert not {"boto3", "botocore", "deepdiff", "rich"} & set(ran.stdout.split())


def test_loading_a_spec_loads_pydantic_and_nothing_as_heavy() -> None:
    script = "import sys, reconciler.spec.desired, reconciler.spec.project; print(*sorted({name.partition('.')[0] for name in sys.modules}))"
    loaded = set(
        subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout.split()
    )
    assert not loaded & {"boto3", "botocore", "deepdiff", "structlog", "rich"}
