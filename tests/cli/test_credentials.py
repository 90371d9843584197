"""Credentials from wherever boto3 takes them: a process, a role of a profile, a role of the target, a web identity, single sign-on; and what is said when they run out.

The stores of credentials are real (files, a process); who gives them out is a small stand-in for STS and SSO.
Its credentials are those of an account of the embedded server, which takes the account for the access key.
"""

from __future__ import annotations

import hashlib
import json
import sys
import threading
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest

from reconciler.sandbox import Sandbox
from tests.cli.support import client, run, stack

THERE = "210987654321"
ROLE = f"arn:aws:iam::{THERE}:role/ivs-reconciler"


class Broker(ThreadingHTTPServer):
    """Gives out credentials that last ``seconds``, so many times, and keeps what it was asked."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.asked: list[dict[str, str]] = []
        self.seconds = 3600
        self.left = 1_000_000
        self.lock = threading.Lock()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def gives(self, asked: dict[str, str]) -> bool:
        with self.lock:
            self.asked.append(asked)
            self.left -= 1
            return self.left >= 0

    @property
    def until(self) -> datetime:
        return datetime.now(UTC) + timedelta(seconds=self.seconds)


class _Handler(BaseHTTPRequestHandler):
    server: Broker

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"])).decode()
        asked = {key: values[0] for key, values in parse_qs(body).items()}
        action = asked["Action"]
        if not self.server.gives(asked):
            refused = "<ErrorResponse><Error><Type>Sender</Type><Code>AccessDenied</Code><Message>not any more</Message></Error></ErrorResponse>"
            self._answer(403, refused, "text/xml")
            return
        until = self.server.until.strftime("%Y-%m-%dT%H:%M:%SZ")
        given = (
            f"<Credentials><AccessKeyId>{THERE}</AccessKeyId><SecretAccessKey>any</SecretAccessKey><SessionToken>t</SessionToken>"
            f"<Expiration>{until}</Expiration></Credentials><AssumedRoleUser><Arn>{ROLE}/x</Arn><AssumedRoleId>A:x</AssumedRoleId></AssumedRoleUser>"
        )
        self._answer(200, f"<{action}Response><{action}Result>{given}</{action}Result></{action}Response>", "text/xml")

    def do_GET(self) -> None:
        asked = {key: values[0] for key, values in parse_qs(urlsplit(self.path).query).items()}
        self.server.gives({**asked, "token": str(self.headers["x-amz-sso_bearer_token"])})
        given = {"accessKeyId": THERE, "secretAccessKey": "any", "sessionToken": "t", "expiration": int(self.server.until.timestamp() * 1000)}
        self._answer(200, json.dumps({"roleCredentials": given}), "application/json")

    def _answer(self, status: int, text: str, kind: str) -> None:
        data = text.encode()
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *args: object) -> None:
        del args


@pytest.fixture
def broker() -> Iterator[Broker]:
    server = Broker()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def sandbox() -> Iterator[Sandbox]:
    with Sandbox() as server:
        yield server


def project(folder: Path, sandbox: Sandbox, channels: int = 1, **target: object) -> Path:
    spec: dict[str, object] = {"channels": {f"c{number}": {} for number in range(channels)}}
    return stack(folder, spec, target={"sandbox": None, "accountId": THERE, "endpointUrl": sandbox.endpoint_url, **target})


def environment(folder: Path, broker: Broker, config: str = "", **more: str) -> dict[str, str]:
    (folder / "aws").mkdir(exist_ok=True)
    (folder / "aws" / "config").write_text(config, encoding="utf-8")
    return {
        "AWS_CONFIG_FILE": str(folder / "aws" / "config"),
        "HOME": str(folder),
        "AWS_ENDPOINT_URL_STS": broker.url,
        "AWS_ENDPOINT_URL_SSO": broker.url,
        **more,
    }


def applied(folder: Path, env: Mapping[str, str], sandbox: Sandbox) -> None:
    """Apply, and see that the calls came from the account that the credentials are of."""
    ran = run(folder, "apply", "--auto-approve", env=env)
    assert ran.code == 0, ran.err
    assert len(client(sandbox.endpoint_url, account=THERE).list_channels()["channels"]) == 1
    assert run(folder, "plan", "--detailed-exitcode", env=env).code == 0


def test_a_process(tmp_path: Path, sandbox: Sandbox, broker: Broker) -> None:
    given = json.dumps({"Version": 1, "AccessKeyId": THERE, "SecretAccessKey": "any"})
    (tmp_path / "give.py").write_text(f"print({given!r})", encoding="utf-8")
    env = environment(tmp_path, broker, f"[profile work]\ncredential_process = {sys.executable} {tmp_path / 'give.py'}\n")
    applied(project(tmp_path / "repo", sandbox, profile="work"), env, sandbox)


def test_a_process_that_fails_is_named(tmp_path: Path, sandbox: Sandbox, broker: Broker) -> None:
    env = environment(tmp_path, broker, f"[profile work]\ncredential_process = {sys.executable} -c exit(3)\n")
    ran = run(project(tmp_path / "repo", sandbox, profile="work"), "apply", "--auto-approve", env=env)
    assert ran.code == 1
    assert "the AWS credentials could not be obtained" in ran.err


def test_a_role_of_a_profile(tmp_path: Path, sandbox: Sandbox, broker: Broker) -> None:
    config = f"[profile base]\naws_access_key_id = 1\naws_secret_access_key = any\n[profile work]\nrole_arn = {ROLE}\nsource_profile = base\n"
    applied(project(tmp_path / "repo", sandbox, profile="work"), environment(tmp_path, broker, config), sandbox)
    assert {asked["RoleArn"] for asked in broker.asked} == {ROLE}


def test_a_web_identity(tmp_path: Path, sandbox: Sandbox, broker: Broker) -> None:
    token = tmp_path / "token"
    token.write_text("who-i-am", encoding="utf-8")
    env = environment(tmp_path, broker, AWS_WEB_IDENTITY_TOKEN_FILE=str(token), AWS_ROLE_ARN=ROLE)
    applied(project(tmp_path / "repo", sandbox), env, sandbox)
    assert {(asked["Action"], asked["WebIdentityToken"]) for asked in broker.asked} == {("AssumeRoleWithWebIdentity", "who-i-am")}


SSO = f"""\
[sso-session acme]
sso_start_url = https://acme.example.com/start
sso_region = us-west-2
[profile work]
sso_session = acme
sso_account_id = {THERE}
sso_role_name = video
"""


def signed_in(home: Path, until: datetime) -> None:
    cache = home / ".aws" / "sso" / "cache"
    cache.mkdir(parents=True, exist_ok=True)
    content = {
        "accessToken": "signed-in",
        "expiresAt": until.strftime("%Y-%m-%dT%H:%M:%SZ"),
        "startUrl": "https://acme.example.com/start",
        "region": "us-west-2",
    }
    (cache / f"{hashlib.sha1(b'acme').hexdigest()}.json").write_text(json.dumps(content), encoding="utf-8")


def test_single_sign_on(tmp_path: Path, sandbox: Sandbox, broker: Broker) -> None:
    signed_in(tmp_path, datetime.now(UTC) + timedelta(hours=4))
    applied(project(tmp_path / "repo", sandbox, profile="work"), environment(tmp_path, broker, SSO), sandbox)
    assert {(asked["role_name"], asked["account_id"], asked["token"]) for asked in broker.asked} == {("video", THERE, "signed-in")}


def test_a_sign_on_that_is_over_is_said_and_nothing_is_changed(tmp_path: Path, sandbox: Sandbox, broker: Broker) -> None:
    signed_in(tmp_path, datetime.now(UTC) - timedelta(hours=4))
    ran = run(project(tmp_path / "repo", sandbox, profile="work"), "apply", "--auto-approve", env=environment(tmp_path, broker, SSO))
    assert ran.code == 1
    assert "sign in again" in ran.err
    assert "signed-in" not in ran.out + ran.err
    assert sandbox.control.calls() == []


def lasting(folder: Path, broker: Broker, times: int) -> dict[str, str]:
    """Let a role be had so many times, each for so short that every call asks anew."""
    token = folder / "token"
    token.write_text("who-i-am", encoding="utf-8")
    broker.seconds, broker.left = 2, times
    return environment(folder, broker, AWS_WEB_IDENTITY_TOKEN_FILE=str(token), AWS_ROLE_ARN=ROLE)


def test_credentials_that_are_short_lived_are_renewed_while_an_apply_runs(tmp_path: Path, sandbox: Sandbox, broker: Broker) -> None:
    applied(project(tmp_path / "repo", sandbox), lasting(tmp_path, broker, 1_000_000), sandbox)
    assert len(broker.asked) > 5


def test_a_role_that_is_withdrawn_while_an_apply_runs_leaves_a_true_report(tmp_path: Path, sandbox: Sandbox, broker: Broker) -> None:
    folder = project(tmp_path / "repo", sandbox, channels=12)
    env = lasting(tmp_path, broker, 1_000_000)
    assert run(folder, "plan", env=env).code == 0
    reads = len(broker.asked)
    broker.left = reads + 5
    ran = run(folder, "apply", "--auto-approve", "--format", "json", env=env)
    assert ran.code == 4, ran.err
    outcomes = json.loads(ran.out.splitlines()[-1])["outcomes"]
    done = {outcome["address"].removeprefix("channel/") for outcome in outcomes if outcome["outcome"] == "done"}
    there = {channel["name"] for channel in client(sandbox.endpoint_url, account=THERE).list_channels()["channels"]}
    assert done == there
    assert 0 < len(done) < 12
    assert all("not any more" in outcome["message"] for outcome in outcomes if outcome["outcome"] == "failed")
    broker.left = 1_000_000
    assert run(folder, "apply", "--auto-approve", env=env).code == 0
    assert len(client(sandbox.endpoint_url, account=THERE).list_channels()["channels"]) == 12
