"""Single sign-on (``aws sso login``): a sign-on that renews itself, one that is over, one that leads to a role or to none."""

from __future__ import annotations

import hashlib
import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tests.aws.authority import CANARY, Authority, Refusal, authority
from tests.aws.bench import COUNT, ROLE, Bench, broken_off, sso

START = "https://studio.example.com/start"
SESSION = f"[sso-session studio]\nsso_start_url = {START}\nsso_region = us-west-2\n"


def profile(name: str, role: str = "deployer") -> str:
    return f"[profile '{name}']\nsso_session = studio\nsso_account_id = 123456789012\nsso_role_name = {role}\n"


def signed_in(bench: Bench, hours: float, *, registered_hours: float = 800) -> None:
    """Sign in as ``aws sso login`` does with a session, from which the sign-on can be renewed."""

    def moment(later: float) -> str:
        return (datetime.now(UTC) + timedelta(hours=later)).strftime("%Y-%m-%dT%H:%M:%SZ")

    content = {
        "startUrl": START,
        "region": "us-west-2",
        "accessToken": f"{CANARY}Bearer0",
        "expiresAt": moment(hours),
        "clientId": "client",
        "clientSecret": f"{CANARY}Client",
        "refreshToken": f"{CANARY}Refresh0",
        "registrationExpiresAt": moment(registered_hours),
    }
    cache = bench.home / ".aws" / "sso" / "cache"
    cache.mkdir(parents=True, exist_ok=True)
    kept(bench).write_text(json.dumps(content), encoding="utf-8")


def kept(bench: Bench) -> Any:
    return bench.home / ".aws" / "sso" / "cache" / f"{hashlib.sha1(b'studio', usedforsecurity=False).hexdigest()}.json"


def reached(bench: Bench, giver: Authority) -> None:
    bench.env |= {f"AWS_ENDPOINT_URL_{service}": giver.url for service in ("SSO", "SSO_OIDC", "STS")}


def test_a_sign_on_that_is_over_is_renewed_once_for_all_targets_and_kept(bench: Bench) -> None:
    bench.settings(SESSION + "".join(profile(f"p{number}", f"role{number}") for number in range(4)))
    bench.projects(
        **{
            f"{region}": {"profile": f"p{number}", "region": region}
            for number, region in enumerate(("us-west-2", "us-east-1", "eu-west-1", "eu-central-1"))
        }
    )
    signed_in(bench, -2)
    with authority(7200) as giver:
        reached(bench, giver)
        ran = bench.run("plan")
    assert ran.code == 0, ran.err
    assert len(giver.renewals) == 1, "what renews a sign-on counts once"
    assert {asked["bearer"] for asked in giver.forms} == {f"{CANARY}Bearer1"}
    assert sorted(asked["role_name"] for asked in giver.forms) == ["role0", "role1", "role2", "role3"]
    assert json.loads(kept(bench).read_text(encoding="utf-8"))["refreshToken"] == f"{CANARY}Refresh1"


@pytest.mark.parametrize("why", ["refused", "registration"])
def test_a_sign_on_that_cannot_be_renewed_says_how_to_sign_in_again(bench: Bench, why: str) -> None:
    bench.settings(SESSION + profile("night watch"))
    bench.project(profile="night watch")
    signed_in(bench, -2, registered_hours=-1 if why == "registration" else 800)
    with authority(sign_on=0) as giver:
        reached(bench, giver)
        ran = bench.run("apply", "--auto-approve")
    assert ran.code == 1
    assert "sign in again (aws sso login --profile 'night watch')" in ran.err
    assert bench.sandbox.control.calls() == []
    assert len(giver.renewals) == (why == "refused")


def test_a_sign_on_is_renewed_in_the_middle_of_an_apply(bench: Bench) -> None:
    bench.settings(SESSION + profile("staff"))
    bench.project(profile="staff")
    signed_in(bench, -2)
    with authority(30, sign_on=60) as giver:
        reached(bench, giver)
        bench.is_converged()
    assert len(giver.renewals) > COUNT
    assert len(set(bench.keys("CreateChannel"))) > COUNT / 2


def test_a_sign_on_that_is_ended_in_the_middle_leaves_a_report_that_is_right(bench: Bench) -> None:
    bench.settings(SESSION + profile("staff"))
    bench.project(profile="staff")
    signed_in(bench, 8)
    with authority() as giver:
        reached(bench, giver)
        assert bench.run("plan").code == 0
    reads = len(giver.forms)
    ended = Refusal(401, "UnauthorizedException", "Session token not found or invalid")
    with authority(refuse=lambda number: ended if number > reads + 5 else None) as giver:
        reached(bench, giver)
        broken_off(bench, "sign in again (aws sso login --profile staff)", repaired=False)
    with authority() as giver:
        reached(bench, giver)
        bench.is_converged()


@pytest.mark.parametrize(
    "refusal",
    [
        Refusal(403, "ForbiddenException", "No access"),
        Refusal(404, "ResourceNotFoundException", "The specified role does not exist"),
    ],
)
def test_a_role_that_sso_does_not_give_and_an_expired_sso_session_are_different_errors(
    bench: Bench, refusal: Refusal
) -> None:
    bench.project(profile="staff")
    sso(bench, 8, "legacy")
    with authority(refuse=lambda _: refusal) as giver:
        reached(bench, giver)
        ran = bench.run("plan")
    assert ran.code == 1
    assert f"{refusal.code}: {refusal.text}" in ran.err
    assert "check sso_account_id and sso_role_name" in ran.err
    assert "sign in again" not in ran.err


def test_a_role_of_the_target_and_one_of_a_profile_on_top_of_a_sign_on(bench: Bench) -> None:
    second = "arn:aws:iam::123456789012:role/second"
    bench.settings(SESSION + profile("staff") + f"[profile deploy]\nrole_arn = {second}\nsource_profile = staff\n")
    bench.projects(one={"profile": "staff", "roleArn": ROLE}, two={"profile": "deploy", "region": "eu-west-1"})
    signed_in(bench, 8)
    with authority(7200) as giver:
        reached(bench, giver)
        ran = bench.run("plan")
    assert ran.code == 0, ran.err
    assert sorted(form["RoleArn"] for form in giver.forms if "RoleArn" in form) == [ROLE, second]
    assert all(
        signer.startswith("KEY") for signer, form in zip(giver.signers, giver.forms, strict=True) if "RoleArn" in form
    )


def test_who_is_to_sign_in_is_the_profile_at_the_end_of_the_chain(bench: Bench) -> None:
    bench.settings(SESSION + profile("staff") + f"[profile deploy]\nrole_arn = {ROLE}\nsource_profile = staff\n")
    bench.project(profile="deploy")
    ran = bench.run("plan")
    assert ran.code == 1
    assert "Token for studio does not exist; sign in again (aws sso login --profile staff)" in ran.err
