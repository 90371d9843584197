"""Credentials from wherever boto3 takes them, renewed and refused in the middle: the work is done, or what was done is said."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from reconciler.aws.connection import connect
from reconciler.aws.reader import ReadRequest, read_live
from reconciler.errors import AwsError
from reconciler.model.address import ID, STACK, KindName
from reconciler.model.target import Target
from reconciler.sandbox import Sandbox
from tests.aws.authority import CANARY, STATIC, Refusal, authority, program, runs
from tests.aws.bench import COUNT, DENIED, ROLE, STATIC_KEYS, Bench, broken_off, outcomes, sso


def test_a_profile_with_static_keys(bench: Bench) -> None:
    (bench.home / "credentials").write_text(f"[studio]\n{STATIC_KEYS}", encoding="utf-8")
    bench.project(profile="studio")
    bench.is_converged()
    assert set(bench.keys("CreateChannel")) == {"STATIC"}


def test_a_program_that_gives_long_lived_credentials_is_run_once_a_command(bench: Bench) -> None:
    bench.settings(f"[profile studio]\n{program(bench.home, 7200)}\n")
    bench.project(profile="studio")
    assert bench.run("apply", "--auto-approve").code == 0
    assert runs(bench.home) == 1
    assert set(bench.keys("CreateChannel")) == {"KEY0001"}


def test_a_program_whose_credentials_expire_in_seconds_is_run_again_in_the_middle_of_an_apply(bench: Bench) -> None:
    bench.settings(f"[profile studio]\n{program(bench.home)}\n")
    bench.project(profile="studio")
    bench.is_converged()
    used = bench.keys("CreateChannel")
    assert len(used) == COUNT
    assert len(set(used)) > COUNT / 2, "credentials near their end were used again and again"
    assert runs(bench.home) > COUNT


@pytest.mark.parametrize("way", ["program", "role"])
def test_reads_of_many_pages_renew_too(bench: Bench, monkeypatch: pytest.MonkeyPatch, way: str) -> None:
    for name, value in bench.env.items():
        monkeypatch.setenv(name, value)
    # Channels are created with keys that are not renewed: it is about reads.
    bench.settings(f"[profile studio]\n{STATIC_KEYS}\n")
    with connect(Target("dev", "us-west-2", profile="studio", paced=False)) as connection:
        for number in range(110):
            connection.gateway.call(
                "CreateChannel", {"name": f"n{number}", "tags": {STACK: "acme-live", ID: f"n{number}"}}
            )
    bench.settings(f"[profile studio]\n{STATIC_KEYS if way == 'role' else program(bench.home)}\n")
    with authority() as giver:
        monkeypatch.setenv("AWS_ENDPOINT_URL_STS", giver.url)
        target = Target("dev", "us-west-2", profile="studio", role_arn=ROLE if way == "role" else None, paced=False)
        with connect(target) as connection:
            bench.sandbox.control.clear_calls()
            live = read_live(
                connection.gateway, ReadRequest("acme-live"), account_id=connection.account_id, region="us-west-2"
            )
    assert len(live.resources[KindName.CHANNEL]) == 110
    for operation in ("ListChannels", "BatchGetChannel"):
        # Threads that renew at the same moment may get the same key.
        assert len(set(bench.keys(operation))) >= 2


def test_every_read_is_signed_with_what_is_valid_then(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in bench.env.items():
        monkeypatch.setenv(name, value)
    bench.settings(f"[profile studio]\n{program(bench.home)}\n")
    with connect(Target("dev", "us-west-2", profile="studio", paced=False)) as connection:
        for _ in range(6):
            connection.gateway.call("ListChannels", {})
    assert len(set(bench.keys("ListChannels"))) == 6


@pytest.mark.parametrize("external_id", [None, "studio-7"])
def test_a_role_of_the_target_is_renewed_in_the_middle(bench: Bench, external_id: str | None) -> None:
    bench.settings(f"[profile studio]\n{STATIC_KEYS}")
    with authority() as giver:
        bench.env["AWS_ENDPOINT_URL_STS"] = giver.url
        bench.project(profile="studio", roleArn=ROLE, **({"externalId": external_id} if external_id else {}))
        bench.is_converged()
    assert len(set(bench.keys("CreateChannel"))) > COUNT / 2
    assert {form["RoleArn"] for form in giver.forms} == {ROLE}
    assert {form.get("ExternalId") for form in giver.forms} == {external_id}
    assert set(giver.signers) == {"STATIC"}


def test_a_role_that_refuses_is_named_with_what_to_check(bench: Bench) -> None:
    bench.settings(f"[profile studio]\n{STATIC_KEYS}[profile deploy]\nrole_arn = {ROLE}\nsource_profile = studio\n")
    for target in ({"profile": "studio", "roleArn": ROLE}, {"profile": "deploy"}):
        with authority(refuse=lambda _: DENIED) as giver:
            bench.env["AWS_ENDPOINT_URL_STS"] = giver.url
            bench.project(**target)
            ran = bench.run("plan")
        assert ran.code == 1
        assert ROLE in ran.err
        assert "trust policy" in ran.err
        assert "not authorized to perform: sts:AssumeRole" in ran.err
    assert bench.sandbox.control.calls() == []


@pytest.mark.parametrize("target", [{}, {"roleArn": "arn:aws:iam::123456789012:role/second"}])
def test_a_role_of_a_profile_needs_no_region_there_and_may_lead_to_another(
    bench: Bench, target: dict[str, object]
) -> None:
    bench.settings(
        f"[profile studio]\n{STATIC_KEYS}[profile deploy]\nrole_arn = {ROLE}\nsource_profile = studio\nexternal_id = x-1\n"
    )
    with authority(7200) as giver:
        bench.env["AWS_ENDPOINT_URL_STS"] = giver.url
        bench.project(profile="deploy", **target)
        assert bench.run("apply", "--auto-approve").code == 0
    assert [form["RoleArn"] for form in giver.forms] == [ROLE, *target.values()]
    assert giver.forms[0]["ExternalId"] == "x-1"
    assert giver.signers == ["STATIC", *(["KEY0001"] if target else [])]


@pytest.mark.parametrize("where", ["profile", "environment"])
def test_a_web_identity_is_renewed_in_the_middle_with_the_token_of_that_time(bench: Bench, where: str) -> None:
    token = bench.home / "token"
    token.write_text(f"{CANARY}.web.identity", encoding="utf-8")
    bench.project(**({"profile": "ci"} if where == "profile" else {}))
    if where == "profile":
        bench.settings(f"[profile ci]\nrole_arn = {ROLE}\nweb_identity_token_file = {token}\n")
    else:
        bench.env |= {
            "AWS_ROLE_ARN": ROLE,
            "AWS_WEB_IDENTITY_TOKEN_FILE": str(token),
            "AWS_ROLE_SESSION_NAME": "pipeline",
        }
    renewed = f"{CANARY}.web.renewed"

    def replace_token(number: int) -> None:
        if number == 6:
            token.write_text(renewed, encoding="utf-8")

    with authority(refuse=replace_token) as giver:
        bench.env["AWS_ENDPOINT_URL_STS"] = giver.url
        bench.is_converged()
    assert len(set(bench.keys("CreateChannel"))) > COUNT / 2
    assert {form["Action"] for form in giver.forms} == {"AssumeRoleWithWebIdentity"}
    assert {form["WebIdentityToken"] for form in giver.forms} == {f"{CANARY}.web.identity", renewed}
    assert set(giver.signers) == {""}


def test_a_web_identity_token_that_is_old_or_missing_is_pointed_at(bench: Bench) -> None:
    token = bench.home / "token"
    bench.env |= {"AWS_ROLE_ARN": ROLE, "AWS_WEB_IDENTITY_TOKEN_FILE": str(token)}
    bench.project()
    missing = bench.run("plan")
    assert missing.code == 1
    assert f"{token}: no such file or directory" in missing.err
    token.write_text(f"{CANARY}.web.identity", encoding="utf-8")
    with authority(
        refuse=lambda _: Refusal(
            400, "ExpiredTokenException", "Token expired: current date must be before the expiration date"
        )
    ) as giver:
        bench.env["AWS_ENDPOINT_URL_STS"] = giver.url
        old = bench.run("plan")
    assert old.code == 1
    assert ROLE in old.err
    assert "Token expired" in old.err
    assert "renew the token file" in old.err


@pytest.mark.parametrize("form", ["session", "legacy"])
def test_single_sign_on(bench: Bench, form: str) -> None:
    bench.project(profile="staff")
    sso(bench, 8, form)
    with authority() as giver:
        bench.env["AWS_ENDPOINT_URL_SSO"] = giver.url
        bench.is_converged()
        assert len(set(bench.keys("CreateChannel"))) > COUNT / 2
        assert {asked["bearer"] for asked in giver.forms} == {f"{CANARY}Bearer"}
        before = len(giver.forms)
        sso(bench, -1, form)
        old = bench.run("plan")
        assert len(giver.forms) == before
    assert old.code == 1
    assert "sign in again (aws sso login" in old.err


@pytest.mark.parametrize(
    ("refusal", "said"),
    [
        (Refusal(401, "UnauthorizedException", "Session token not found"), "aws sso login"),
        (Refusal(403, "ForbiddenException", "No access"), "No access"),
    ],
)
def test_a_sign_in_that_was_ended_elsewhere_is_said_so(bench: Bench, refusal: Refusal, said: str) -> None:
    bench.project(profile="staff")
    sso(bench, 8, "legacy")
    with authority(refuse=lambda _: refusal) as giver:
        bench.env["AWS_ENDPOINT_URL_SSO"] = giver.url
        ran = bench.run("plan")
    assert ran.code == 1
    assert said in ran.err


@pytest.mark.parametrize(
    ("otherwise", "said"),
    [
        ("fail", "the session is over"),
        ("rubbish", "cannot parse"),
        ("naive", "Expiration needs a time zone"),
        ("expired", "have already expired"),
    ],
)
def test_credentials_that_cannot_be_renewed_in_the_middle_leave_a_report_that_is_right(
    bench: Bench, otherwise: str, said: str
) -> None:
    bench.project(profile="studio")
    bench.settings(f"[profile studio]\n{program(bench.home)}\n")
    assert bench.run("plan").code == 0
    reads = runs(bench.home)
    (bench.home / "runs").unlink()
    bench.settings(f"[profile studio]\n{program(bench.home, good=reads + 5, otherwise=otherwise)}\n")
    broken_off(bench, said)


@pytest.mark.parametrize(
    ("refusal", "said"),
    [
        (DENIED, "trust policy"),
        (Refusal(403, "ExpiredToken", "The security token included in the request is expired"), "sign in again"),
    ],
)
def test_a_role_that_is_withdrawn_in_the_middle_leaves_a_report_that_is_right(
    bench: Bench, refusal: Refusal, said: str
) -> None:
    bench.settings(f"[profile studio]\n{STATIC_KEYS}")
    bench.project(profile="studio", roleArn=ROLE)
    with authority() as giver:
        bench.env["AWS_ENDPOINT_URL_STS"] = giver.url
        assert bench.run("plan").code == 0
    reads = len(giver.forms)
    with authority(refuse=lambda number: refusal if number > reads + 5 else None) as giver:
        bench.env["AWS_ENDPOINT_URL_STS"] = giver.url
        broken_off(bench, said, repaired=False)
    with authority() as giver:
        bench.env["AWS_ENDPOINT_URL_STS"] = giver.url
        bench.is_converged()


def test_a_short_failure_of_sts_in_the_middle_is_waited_out(bench: Bench) -> None:
    bench.settings(f"[profile studio]\n{STATIC_KEYS}")
    bench.project(profile="studio", roleArn=ROLE)
    busy = Refusal(503, "ServiceUnavailable", "busy")
    with authority(refuse=lambda number: busy if number % 5 == 0 else None) as giver:
        bench.env["AWS_ENDPOINT_URL_STS"] = giver.url
        bench.is_converged()
    assert len(bench.keys("CreateChannel")) == COUNT


@pytest.mark.parametrize(
    "line",
    [
        "credential_process = /no/such/program",
        "credential_process = /dev/null",
        "credential_process = echo [1]",
        "credential_process = echo",
    ],
)
def test_a_program_that_gives_nothing_is_named_before_anything_is_done(bench: Bench, line: str) -> None:
    bench.settings(f"[profile studio]\n{line}\n")
    bench.project(profile="studio")
    ran = bench.run("apply", "--auto-approve")
    assert ran.code == 1
    assert "cannot obtain AWS credentials" in ran.err
    assert "credential_process" in ran.err


@pytest.mark.parametrize("way", ["container", "machine"])
def test_credentials_of_a_container_and_of_a_machine_are_renewed_too(bench: Bench, way: str) -> None:
    bench.project()
    with authority() as giver:
        if way == "container":
            (bench.home / "agent").write_text(f"{CANARY}Agent", encoding="utf-8")
            bench.env |= {
                "AWS_CONTAINER_CREDENTIALS_FULL_URI": f"{giver.url}/agent",
                "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE": str(bench.home / "agent"),
            }
        else:
            bench.env |= {"AWS_EC2_METADATA_DISABLED": "false", "AWS_EC2_METADATA_SERVICE_ENDPOINT": giver.url}
        bench.is_converged()
    assert {form["authorization"] for form in giver.forms} == {
        f"{CANARY}Agent" if way == "container" else f"{CANARY}Metadata"
    }
    assert set(bench.keys("CreateChannel")) <= {f"KEY{number:04}" for number in range(1, len(giver.forms) + 1)}


OTHER = "arn:aws:iam::123456789012:role/other"


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        (
            "[profile another]\n",
            "The config profile (p) could not be found; check profile, AWS_PROFILE and ~/.aws/config, or the file that AWS_CONFIG_FILE names",
        ),
        (f"[profile another]\nregion = x\n\n{CANARY}\n", "home/config:4; check profile"),
        (f"{CANARY} = x\n", "home/config:1; check profile"),
        ("[profile p]\na = 1\na = 2\n", "home/config:3; check profile"),
        (f"[profile p]\nrole_arn = {ROLE}\n", "needs a source_profile or a credential_source"),
        (
            f"[profile p]\nrole_arn = {ROLE}\nsource_profile = gone\n",
            'The source_profile "gone" referenced in the profile "p" does not exist',
        ),
        (
            f"[profile p]\nrole_arn = {ROLE}\nsource_profile = q\n[profile q]\nrole_arn = {OTHER}\nsource_profile = p\n",
            "Infinite loop in credential",
        ),
        (
            f"[profile p]\nrole_arn = {ROLE}\nsource_profile = q\n[profile q]\nregion = x\n",
            'The source profile "q" must have credentials',
        ),
        (
            f"[profile p]\nrole_arn = {ROLE}\ncredential_source = Environment\n",
            "No credentials found in credential_source",
        ),
        ("[profile p]\naws_access_key_id = A\n", "missing: aws_secret_access_key"),
        (
            "[profile p]\nsso_session = gone\nsso_account_id = 1\nsso_role_name = r\n",
            'The specified sso-session does not exist: "gone"',
        ),
        (
            "[profile p]\nsso_start_url = https://x/\nsso_account_id = 1\nsso_region = y\n",
            "missing required configuration: sso_role_name",
        ),
    ],
)
def test_a_configuration_that_cannot_be_used_says_where_and_why(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, settings: str, said: str
) -> None:
    for name, value in bench.env.items():
        monkeypatch.setenv(name, value)
    bench.settings(settings)
    with pytest.raises(AwsError) as caught, connect(Target("dev", "us-west-2", profile="p")):
        pass
    assert said in str(caught.value)
    assert CANARY not in str(caught.value)
    assert bench.sandbox.control.calls() == []


@pytest.mark.parametrize(
    ("variable", "named"),
    [
        ("AWS_ACCESS_KEY_ID", "the access key ID (AWS_ACCESS_KEY_ID"),
        ("AWS_SECRET_ACCESS_KEY", "the secret access key (AWS_SECRET_ACCESS_KEY"),
        ("AWS_SESSION_TOKEN", "the session token (AWS_SESSION_TOKEN"),
    ],
)
@pytest.mark.parametrize("odd", [f"{CANARY}\n", f"{CANARY} x", f"\ufeff{CANARY}", f"{CANARY}\r\n"])
def test_a_key_with_a_line_end_is_named_and_nothing_is_sent(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, variable: str, named: str, odd: str
) -> None:
    names = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN")
    for name, value in (bench.env | dict.fromkeys(names, "good") | {variable: odd}).items():
        monkeypatch.setenv(name, value)
    with pytest.raises(AwsError) as caught, connect(Target("dev", "us-west-2")):
        pass
    assert named in str(caught.value)
    assert "contains a line end" in str(caught.value)
    assert CANARY not in str(caught.value)
    assert bench.sandbox.control.calls() == []


class Shifted:
    """The clock of an account where it is later, or earlier, than here."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self.monotonic = time.monotonic
        self.sleep = time.sleep

    def now(self) -> float:
        return time.time() + self._seconds


@pytest.mark.parametrize("seconds", [-1800.0, 1800.0])
def test_a_clock_that_is_wrong_is_named_and_nothing_is_done(tmp_path: Path, seconds: float) -> None:
    home = tmp_path / "home"
    home.mkdir()
    (home / "config").write_text(f"[profile studio]\n{STATIC_KEYS}", encoding="utf-8")
    with Sandbox(settle_seconds=0, auth="strict", accounts={"STATIC": STATIC}, clock=Shifted(seconds)) as sandbox:
        bench = Bench(tmp_path / "repo", home, sandbox, {"AWS_CONFIG_FILE": str(home / "config")})
        bench.project(profile="studio", endpointUrl=sandbox.endpoint_url)
        ran = bench.run("apply", "--auto-approve")
        assert ran.code == 1
        assert "correct this machine's clock" in ran.err
        assert bench.names() == []


def test_a_clock_that_goes_wrong_in_the_middle_leaves_a_report_that_is_right(bench: Bench) -> None:
    bench.settings(f"[profile studio]\n{program(bench.home)}\n")
    bench.project(profile="studio")
    bench.sandbox.control.add_fault("skew", operation="CreateChannel", skip=4, times=None)
    ran = bench.run("apply", "--auto-approve", "--format", "json")
    assert ran.code == 4
    assert len(bench.names()) == 4
    assert sum(outcome["outcome"] == "done" for outcome in outcomes(ran)) == 4
    assert any("clock" in (outcome["message"] or "") for outcome in outcomes(ran))
    bench.sandbox.control.clear_faults()
    bench.is_converged()
