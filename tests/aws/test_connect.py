from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from botocore.session import Session

from reconciler.aws.connection import connect
from reconciler.aws.limiter import Pacers
from reconciler.aws.session import open_client, open_session
from reconciler.errors import AwsError, UsageError
from reconciler.model.target import Target
from reconciler.sandbox import Sandbox
from tests.aws.faulty import Said, faulty
from tests.aws.makers import Time

DENIED = Said(
    403,
    b"<ErrorResponse><Error><Code>InvalidClientTokenId</Code><Message>The security token is invalid</Message></Error></ErrorResponse>",
    {"Content-Type": "text/xml"},
)


def in_sandbox(path: Path, **more: object) -> Target:
    return Target(name="dev", region="us-west-2", sandbox=str(path / "state" / "dev.db"))._replace(**more)  # type: ignore[arg-type]


@pytest.fixture
def keys(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "210987654321")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "anything")


def test_a_sandbox_target_needs_no_aws_settings_and_keeps_its_state(tmp_path: Path) -> None:
    with connect(in_sandbox(tmp_path)) as connection:
        assert (connection.account_id, connection.region) == ("123456789012", "us-west-2")
        assert connection.caller_arn == "arn:aws:iam::123456789012:user/sandbox"
        connection.gateway.call("CreateChannel", {"name": "stage"})
    with connect(in_sandbox(tmp_path)) as connection:
        assert len(connection.gateway.call("ListChannels", {}).data["channels"]) == 1  # type: ignore[arg-type]


def test_a_sandbox_target_is_in_the_account_it_names(tmp_path: Path) -> None:
    with connect(in_sandbox(tmp_path, account_id="111122223333")) as connection:
        assert connection.account_id == "111122223333"


def test_broken_aws_settings_of_the_machine_do_not_touch_a_sandbox_target(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_PROFILE", "no-such-profile")
    monkeypatch.setenv("AWS_ENDPOINT_URL_IVS", "http://127.0.0.1:9")
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    with connect(in_sandbox(tmp_path)) as connection:
        connection.gateway.call("ListChannels", {})


def test_a_state_file_that_is_something_else_is_named(tmp_path: Path) -> None:
    (tmp_path / "state").mkdir()
    (tmp_path / "state" / "dev.db").write_text(
        "not a database, but a letter to a friend, and long enough to look at twice"
    )
    with (
        pytest.raises(
            UsageError, match=r"the sandbox state \S*dev\.db cannot be used: not usable as a sandbox database"
        ),
        connect(in_sandbox(tmp_path)),
    ):
        pass


def test_a_state_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "state").write_text("a file in the way")
    with pytest.raises(UsageError, match="the directory of the sandbox state"), connect(in_sandbox(tmp_path)):
        pass


@pytest.mark.usefixtures("keys")
def test_another_account_is_refused_before_any_ivs_call() -> None:
    with Sandbox() as sandbox:
        target = Target(name="prod", region="us-west-2", account_id="111122223333", endpoint_url=sandbox.endpoint_url)
        with (
            pytest.raises(
                AwsError, match="for account 111122223333, but the credentials belong to account 210987654321"
            ) as caught,
            connect(target),
        ):
            pass
        assert caught.value.code == "AccountMismatch"
        assert [call["operation"] for call in sandbox.control.calls()] == ["GetCallerIdentity"]


@pytest.mark.usefixtures("keys")
def test_the_callers_identity_is_checked_first_at_every_endpoint() -> None:
    with Sandbox() as sandbox:
        with connect(
            Target(name="prod", region="eu-west-1", account_id="210987654321", endpoint_url=sandbox.endpoint_url)
        ) as connection:
            connection.gateway.call("ListChannels", {})
        called = [(call["operation"], call["account"], call["region"]) for call in reversed(sandbox.control.calls())]
    assert called == [("GetCallerIdentity", "210987654321", "eu-west-1"), ("ListChannels", "210987654321", "eu-west-1")]


@pytest.mark.usefixtures("keys")
def test_endpoints_of_the_environment_are_honoured(monkeypatch: pytest.MonkeyPatch) -> None:
    with Sandbox() as sandbox:
        monkeypatch.setenv("AWS_ENDPOINT_URL_IVS", sandbox.endpoint_url)
        monkeypatch.setenv("AWS_ENDPOINT_URL_STS", sandbox.endpoint_url)
        with connect(Target(name="prod", region="us-west-2")) as connection:
            assert connection.account_id == "210987654321"


ASSUMED = """<AssumeRoleResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><AssumeRoleResult>
<AssumedRoleUser><Arn>arn:aws:sts::111122223333:assumed-role/deployer/ivs-reconciler</Arn><AssumedRoleId>A:s</AssumedRoleId></AssumedRoleUser>
<Credentials><AccessKeyId>ASSUMED</AccessKeyId><SecretAccessKey>s</SecretAccessKey><SessionToken>t</SessionToken><Expiration>%s</Expiration></Credentials>
</AssumeRoleResult></AssumeRoleResponse>"""
CALLER = b"""<GetCallerIdentityResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><GetCallerIdentityResult>
<Arn>arn:aws:sts::111122223333:assumed-role/deployer/ivs-reconciler</Arn><UserId>A:s</UserId><Account>111122223333</Account>
</GetCallerIdentityResult></GetCallerIdentityResponse>"""
XML = {"Content-Type": "text/xml"}


@pytest.mark.usefixtures("keys")
def test_a_proxy_of_the_environment_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    with faulty(DENIED) as proxy:
        monkeypatch.setenv("HTTP_PROXY", proxy.url)
        monkeypatch.setenv("NO_PROXY", "")
        monkeypatch.setenv("no_proxy", "")
        target = Target(name="dev", region="us-west-2", endpoint_url="http://ivs.example", paced=False)
        with pytest.raises(AwsError, match="security token is invalid"), connect(target, sleep=Time().sleep):
            pass
        assert proxy.asked == ["http://ivs.example/"]


def test_service_models_of_a_folder_of_ones_own_come_first(tmp_path: Path) -> None:
    folder = tmp_path / "ivs" / "2020-07-14"
    folder.mkdir(parents=True)
    (folder / "service-2.json").write_text('{"metadata": {"serviceId": "mine"}}', encoding="utf-8")
    script = (
        "from reconciler.aws.session import open_session; from reconciler.model.target import Target;"
        "session = open_session(Target(name='dev', region='us-west-2'), None);"
        "print(*(session.get_service_model(name).service_id for name in ('ivs', 'sts')))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script],
        env={**os.environ, "AWS_DATA_PATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.split() == ["mine", "STS"]


EVENTS = (
    "provide-client-params",
    "before-parameter-build",
    "before-endpoint-resolution",
    "before-call",
    "request-created",
    "choose-signer",
    "before-sign",
    "before-send",
    "response-received",
    "before-parse",
    "needs-retry",
    "after-call",
)


@pytest.mark.parametrize(
    "service",
    ["sts", "ivs", "s3", "ssm", "secretsmanager", "sns", "service-quotas", "cloudtrail", "cloudformation", "sso-oidc"],
)
def test_the_events_of_a_client_have_botocores_handlers(service: str) -> None:
    def handlers(emitter: Any, event: str) -> list[str]:
        found = emitter._handlers.prefix_search(event)
        # The stand-in for AWS adds its own to botocore's when it is imported, which a test before this one may have done.
        return [each.__qualname__ for each in found if not type(each).__module__.startswith("moto.")]

    target = Target(name="dev", region="us-west-2")
    ours = open_client(open_session(target, None), service, target, None, 1)
    plain = Session().create_client(service, region_name="us-west-2").meta
    for operation in plain.service_model.operation_names:
        for event in EVENTS:
            name = f"{event}.{plain.service_model.service_id.hyphenize()}.{operation}"
            assert plain.events._alias_event_name(name) == name, "a client emits no former name"
            assert handlers(ours.meta.events, name) == handlers(plain.events._emitter, name), name


@pytest.mark.usefixtures("keys")
@pytest.mark.parametrize("external_id", [None, "x-1"])
def test_a_role_is_assumed_and_its_credentials_sign_what_follows(external_id: str | None) -> None:
    role = "arn:aws:iam::111122223333:role/deployer"
    assumed = Said(200, (ASSUMED % "2099-01-01T00:00:00Z").encode(), XML)
    with faulty(assumed, Said(200, CALLER, XML), Said(200, b'{"channels": []}')) as server:
        target = Target(
            "prod",
            "us-west-2",
            account_id="111122223333",
            role_arn=role,
            external_id=external_id,
            endpoint_url=server.url,
        )
        with connect(target) as connection:
            connection.gateway.call("ListChannels", {})
            assert connection.account_id == "111122223333"
        assert server.signers == ["210987654321", "ASSUMED", "ASSUMED"]
        assert "RoleSessionName=ivs-reconciler" in server.bodies[0]
        assert ("ExternalId=x-1" in server.bodies[0]) == (external_id is not None)


def test_a_profile_gives_the_credentials(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "credentials").write_text(
        "[studio]\naws_access_key_id = 333344445555\naws_secret_access_key = anything\n"
    )
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "credentials"))
    with (
        Sandbox() as sandbox,
        connect(
            Target(name="prod", region="us-west-2", profile="studio", endpoint_url=sandbox.endpoint_url)
        ) as connection,
    ):
        assert connection.account_id == "333344445555"


def test_a_profile_that_is_not_there_is_named() -> None:
    with (
        pytest.raises(AwsError, match=r"studio.*check profile"),
        connect(Target(name="prod", region="us-west-2", profile="studio")),
    ):
        pass


@pytest.mark.parametrize("role", [None, "arn:aws:iam::111122223333:role/deployer"])
def test_without_credentials_it_says_how_to_give_some(role: str | None) -> None:
    target = Target(name="prod", region="us-west-2", role_arn=role, endpoint_url="http://127.0.0.1:9")
    with pytest.raises(AwsError, match="set AWS_ACCESS_KEY_ID") as caught, connect(target):
        pass
    assert caught.value.code == "NoCredentials"


@pytest.mark.usefixtures("keys")
def test_refused_credentials_are_not_tried_again() -> None:
    with faulty(DENIED) as server:
        with (
            pytest.raises(AwsError, match="The security token is invalid") as caught,
            connect(Target("prod", "us-west-2", endpoint_url=server.url)),
        ):
            pass
        assert len(server.asked) == 1
    assert "sign in again" in str(caught.value)


@pytest.mark.usefixtures("keys")
def test_one_redirected_service_of_two_is_pointed_out(monkeypatch: pytest.MonkeyPatch) -> None:
    with faulty(DENIED) as server:
        monkeypatch.setenv("AWS_ENDPOINT_URL_IVS", server.url)
        with (
            pytest.raises(AwsError, match="AWS_ENDPOINT_URL_STS is not"),
            connect(Target("prod", "us-west-2", endpoint_url=server.url)),
        ):
            pass


@pytest.mark.usefixtures("keys")
def test_a_role_that_cannot_be_assumed_says_what_to_check() -> None:
    refused = Said(
        403,
        b"<ErrorResponse><Error><Code>AccessDenied</Code><Message>not for you</Message></Error></ErrorResponse>",
        {"Content-Type": "text/xml"},
    )
    target = Target("prod", "us-west-2", role_arn="arn:aws:iam::111122223333:role/deployer")
    with (
        faulty(refused) as server,
        pytest.raises(AwsError, match=r"not for you.*check roleArn"),
        connect(target._replace(endpoint_url=server.url)),
    ):
        pass


@pytest.mark.usefixtures("keys")
def test_an_endpoint_without_a_server_is_named_after_some_tries() -> None:
    time = Time()
    with (
        pytest.raises(AwsError, match=r"cannot connect to http://127\.0\.0\.1:9"),
        connect(Target("p", "us-west-2", endpoint_url="http://127.0.0.1:9"), sleep=time.sleep),
    ):
        pass
    assert len(time.slept) == 4


@pytest.mark.usefixtures("keys")
def test_an_endpoint_that_is_no_url_is_refused() -> None:
    with (
        pytest.raises(UsageError, match="write an endpoint as"),
        connect(Target("p", "us-west-2", endpoint_url="localhost 80")),
    ):
        pass


def test_a_region_without_ivs_is_refused_with_those_that_have_it(tmp_path: Path) -> None:
    with (
        pytest.raises(UsageError, match=r"'eu-north-1'; use one of ap-northeast-1"),
        connect(in_sandbox(tmp_path, region="eu-north-1")),
    ):
        pass


def test_importing_the_package_loads_no_botocore() -> None:
    script = "import sys, reconciler.aws.connection, reconciler.aws.reader, reconciler.aws.client; print({'boto3', 'botocore', 'structlog'} & set(sys.modules))"
    assert (
        subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout.strip()
        == "set()"
    )


@pytest.mark.usefixtures("keys")
def test_every_request_is_reported_with_its_error() -> None:
    told: list[tuple[str, str]] = []
    with Sandbox() as sandbox:
        sandbox.control.add_fault("throttle", operation="ListChannels", times=2)
        target = Target("dev", "us-west-2", endpoint_url=sandbox.endpoint_url)
        with connect(
            target,
            sleep=lambda _: None,
            on_request=lambda operation, error: told.append((operation, error.code if error else "")),
        ) as connection:
            connection.gateway.call("ListChannels", {})
    assert told == [
        ("GetCallerIdentity", ""),
        ("ListChannels", "ThrottlingException"),
        ("ListChannels", "ThrottlingException"),
        ("ListChannels", ""),
    ]


def test_two_targets_that_mean_one_account_and_region_keep_one_pace(keys: None) -> None:
    waits: list[float] = []
    pacers = Pacers(clock=lambda: 0.0, sleep=waits.append)
    with Sandbox() as sandbox:
        one, other = (Target(name, "us-west-2", endpoint_url=sandbox.endpoint_url) for name in ("one", "other"))
        with connect(one, pacers=pacers) as first, connect(other, pacers=pacers) as second:
            for connection in (first, second, first):
                connection.gateway.call("ListChannels", {})
    assert waits == pytest.approx([1 / 4.95, 2 / 4.95])
