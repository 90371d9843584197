"""AssumeRole: credentials of a role in any account, as botocore asks for them and signs with them."""

from __future__ import annotations

from typing import Any

import boto3
import pytest

from reconciler.sandbox import AccessKey, Sandbox, VirtualClock
from tests.sandbox.conftest import ClientMaker
from tests.sandbox.helpers import message, refusal

OTHER = "arn:aws:iam::200000000008:role/other"
ROLE = "arn:aws:iam::200000000007:role/ops/ivs-deploy"
REGION = "eu-west-1"


def client_of(sandbox: Sandbox, service: str, key: str, secret: str = "any", token: str | None = None) -> Any:
    return boto3.client(
        service,
        region_name=REGION,
        endpoint_url=sandbox.endpoint_url,
        aws_access_key_id=key,
        aws_secret_access_key=secret,
        aws_session_token=token,
    )


def as_role(sandbox: Sandbox, service: str, credentials: dict[str, str]) -> Any:
    return client_of(
        sandbox, service, credentials["AccessKeyId"], credentials["SecretAccessKey"], credentials["SessionToken"]
    )


@pytest.mark.parametrize("auth", ["any", "strict"])
def test_the_credentials_of_a_role_are_of_its_account(auth: str) -> None:
    accounts = {"AKIABASE": AccessKey("100000000000", "base-secret")}
    with Sandbox(accounts=accounts, auth=auth) as sandbox:
        sts = client_of(sandbox, "sts", "AKIABASE", "base-secret")
        answer = sts.assume_role(RoleArn=ROLE, RoleSessionName="ci@main", ExternalId="xyz", DurationSeconds=900)
        arn = "arn:aws:sts::200000000007:assumed-role/ivs-deploy/ci@main"
        assert answer["AssumedRoleUser"]["Arn"] == arn
        assert answer["AssumedRoleUser"]["AssumedRoleId"].endswith(":ci@main")
        credentials = answer["Credentials"]
        identity = as_role(sandbox, "sts", credentials).get_caller_identity()
        assert (identity["Account"], identity["Arn"]) == ("200000000007", arn)
        channel = as_role(sandbox, "ivs", credentials).create_channel(name="one")["channel"]
        assert channel["arn"].startswith(f"arn:aws:ivs:{REGION}:200000000007:")
        assert client_of(sandbox, "ivs", "AKIABASE", "base-secret").list_channels()["channels"] == []
        assert credentials["SecretAccessKey"] not in str(sandbox.control.calls())
        assert credentials["SessionToken"] not in str(sandbox.control.calls())
        changed = {**credentials, "SessionToken": credentials["SessionToken"][:-8] + "AAAAAAAA"}
        if auth == "strict":
            assert refusal(as_role(sandbox, "sts", changed).get_caller_identity)[1] == "InvalidClientTokenId"
            wrong = {**credentials, "SecretAccessKey": "wrong"}
            assert refusal(as_role(sandbox, "sts", wrong).get_caller_identity)[1] == "SignatureDoesNotMatch"


def test_credentials_expire_and_a_role_can_be_denied(
    client: ClientMaker, sandbox: Sandbox, clock: VirtualClock
) -> None:
    sts = client("sts")
    answer = sts.assume_role(RoleArn=ROLE, RoleSessionName="ci", DurationSeconds=900)
    credentials = answer["Credentials"]
    assert credentials["Expiration"].timestamp() == pytest.approx(clock.now() + 900, abs=1)
    ivs = as_role(sandbox, "ivs", credentials)
    assert ivs.list_channels()["channels"] == []
    # A role may assume another one.
    chained = as_role(sandbox, "sts", credentials).assume_role(RoleArn=OTHER, RoleSessionName="ci")
    assert chained["AssumedRoleUser"]["Arn"].startswith("arn:aws:sts::200000000008:assumed-role/other/")
    sandbox.control.advance(900)
    assert refusal(ivs.list_channels) == (403, "ExpiredTokenException")
    assert as_role(sandbox, "ivs", chained["Credentials"]).list_channels()["channels"] == []

    sandbox.control.deny("AssumeRole", arn=ROLE)
    said = {"RoleArn": ROLE, "RoleSessionName": "ci"}
    assert refusal(sts.assume_role, **said) == (403, "AccessDenied")
    assert message(sts.assume_role, **said).endswith(
        f"is not authorized to perform: sts:AssumeRole on resource: {ROLE}"
    )
    assert sts.assume_role(RoleArn=OTHER, RoleSessionName="ci")["Credentials"]


@pytest.mark.parametrize(
    ("said", "why"),
    [
        ({"RoleArn": "arn:aws:iam::1:role/x/y"}, "arn:aws:iam::1:role/x/y is invalid"),
        ({"RoleArn": "arn:aws:iam::200000000007:user/someone"}, "arn:aws:iam::200000000007:user/someone is invalid"),
        ({"RoleSessionName": "a b"}, "1 validation error detected: Value 'a b' at 'roleSessionName' failed"),
        ({"DurationSeconds": 60}, "1 validation error detected: Value '60' at 'durationSeconds' failed"),
        ({"RoleSessionName": "a b", "DurationSeconds": 60}, "2 validation errors detected: "),
    ],
)
def test_what_sts_refuses(client: ClientMaker, said: dict[str, Any], why: str) -> None:
    arguments = {"RoleArn": ROLE, "RoleSessionName": "ci", **said}
    sts = client("sts", parameter_validation=False)
    assert refusal(sts.assume_role, **arguments) == (400, "ValidationError")
    assert message(sts.assume_role, **arguments).startswith(why)
