"""Clients that nobody here wrote: every command of the AWS command line, and Terraform where it is."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from reconciler.sandbox import Sandbox, VirtualClock

HERE = Path(__file__).parent
CREDENTIALS = {
    "AWS_ACCESS_KEY_ID": "123456789012",
    "AWS_SECRET_ACCESS_KEY": "any",
    "AWS_DEFAULT_REGION": "us-west-2",
    "AWS_REGION": "us-west-2",
}

MAIN_TF = """
terraform {
  required_providers {
    aws = {
      source = "hashicorp/aws"
    }
  }
}
provider "aws" {
  region = "us-west-2"
}
resource "aws_ivs_recording_configuration" "archive" {
  name = "archive"
  destination_configuration {
    s3 {
      bucket_name = "vod"
    }
  }
  thumbnail_configuration {
    recording_mode          = "INTERVAL"
    target_interval_seconds = 30
  }
  tags = { team = "video" }
}
resource "aws_ivs_channel" "stage" {
  name                        = "stage"
  latency_mode                = "NORMAL"
  recording_configuration_arn = aws_ivs_recording_configuration.archive.arn
  tags                        = { team = "video" }
}
resource "aws_ivs_playback_key_pair" "web" {
  name       = "web"
  public_key = file("key.pem")
}
data "aws_ivs_stream_key" "stage" {
  channel_arn = aws_ivs_channel.stage.arn
}
"""


def test_every_command_of_the_aws_command_line_works_and_is_signed_as_aws_wants_it() -> None:
    # Not imported: it sets AWS_DATA_PATH for its whole process.
    if find_spec("awscli") is None:
        pytest.skip("needs awscli")
    with Sandbox(
        auth="strict", accounts=_accounts(), clock=VirtualClock(time.time()), settle_seconds=10, stop_seconds=3
    ) as sandbox:
        done = subprocess.run(
            [sys.executable, str(HERE / "aws_commands.py"), sandbox.endpoint_url],
            env={**os.environ, **CREDENTIALS, "IVS_SANDBOX_TOKEN": sandbox.control_token},
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
    lines = done.stdout.splitlines()
    assert [line for line in lines if not line.endswith(" 0")] == [], done.stderr
    assert done.returncode == 0, done.stderr
    assert len(set(lines)) > 40


def test_boto3_paginators_read_every_list(ivs: Any, sandbox: Sandbox) -> None:
    for number in range(3):
        ivs.create_channel(name=f"c{number}")
        ivs.create_recording_configuration(destinationConfiguration={"s3": {"bucketName": "vod"}})
        ivs.create_failover_slate_configuration()
    for name, member, expected in (
        ("list_channels", "channels", 3),
        ("list_recording_configurations", "recordingConfigurations", 3),
        ("list_failover_slate_configurations", "failoverSlateConfigurations", 3),
        ("list_playback_key_pairs", "keyPairs", 0),
        ("list_ad_configurations", "adConfigurations", 0),
        ("list_streams", "streams", 0),
    ):
        pages = list(ivs.get_paginator(name).paginate(PaginationConfig={"PageSize": 1}))
        assert sum(len(page[member]) for page in pages) == expected
        assert len(pages) == max(1, expected)


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("terraform") is None, reason="no terraform here")
def test_terraform_applies_plans_to_empty_and_destroys(tmp_path: Path) -> None:
    from tests.sandbox.helpers import PUBLIC_KEY

    (tmp_path / "main.tf").write_text(MAIN_TF)
    (tmp_path / "key.pem").write_text(PUBLIC_KEY)
    with Sandbox(settle_seconds=0.2, auth="strict", accounts=_accounts()) as sandbox:
        environment = {
            **os.environ,
            **CREDENTIALS,
            "AWS_ENDPOINT_URL": sandbox.endpoint_url,
            "TF_IN_AUTOMATION": "1",
            "CHECKPOINT_DISABLE": "1",
        }
        environment.pop("AWS_CONFIG_FILE", None)
        environment.pop("AWS_SHARED_CREDENTIALS_FILE", None)

        def terraform(*arguments: str) -> subprocess.CompletedProcess[str]:
            command = ["terraform", *arguments, "-no-color", "-input=false"]
            return subprocess.run(
                command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=240, check=False
            )

        if terraform("init").returncode != 0:
            pytest.skip("terraform has no AWS provider here")
        applied = terraform("apply", "-auto-approve")
        assert applied.returncode == 0, applied.stderr + applied.stdout
        planned = terraform("plan", "-detailed-exitcode")
        assert planned.returncode == 0, planned.stderr + planned.stdout
        destroyed = terraform("destroy", "-auto-approve")
        assert destroyed.returncode == 0, destroyed.stderr
        assert all(count == 0 for count in sandbox.control.resources().values())


def _accounts() -> dict[str, Any]:
    from reconciler.sandbox import AccessKey

    return {"123456789012": AccessKey("123456789012", secret="any")}
