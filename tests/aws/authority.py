"""The services that issue credentials, in one local server: STS's AssumeRole and AssumeRoleWithWebIdentity, SSO's GetRoleCredentials and CreateToken, a container's agent, a machine's metadata; and a program that prints some.

They give keys of one pool, each only once, so that the sandbox, which verifies signatures with the same pool, shows which were used for what.
"""

from __future__ import annotations

import json
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

from reconciler.sandbox import AccessKey
from tests.cli.support import QuietServer

ACCOUNT = "123456789012"
CANARY = "cAnary7"
"""Part of every secret and token here, and of nothing else."""

POOL = {
    f"KEY{number:04}": AccessKey(
        ACCOUNT, secret=f"{CANARY}Secret{number:04}", session_token=f"{CANARY}Token{number:04}"
    )
    for number in range(1, 1500)
}
STATIC = AccessKey(ACCOUNT, secret=f"{CANARY}SecretStatic")
ACCOUNTS = {**POOL, "STATIC": STATIC}

METADATA = "/latest/meta-data/iam/security-credentials"
MACHINE_ROLE = "studio-machine"
_STS = "https://sts.amazonaws.com/doc/2011-06-15/"
_PROGRAM = f"""
import datetime, json, pathlib, sys
count, lifetime, good, otherwise = pathlib.Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), sys.argv[4]
with count.open("ab") as file:
    file.write(b".")
number = count.stat().st_size
if good and number > good:
    if otherwise == "fail":
        sys.exit("the session is over; my last key was {CANARY}SecretSecretSecretSecretSecret01")
    if otherwise == "rubbish":
        print("{CANARY} is no JSON")
        sys.exit()
    lifetime = -60
expires = datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(seconds=lifetime)
text = expires.replace(tzinfo=None).isoformat() + ("" if good and number > good and otherwise == "naive" else "Z")
print(json.dumps({{"Version": 1, "AccessKeyId": f"KEY{{number:04}}", "SecretAccessKey": f"{CANARY}Secret{{number:04}}", "SessionToken": f"{CANARY}Token{{number:04}}", "Expiration": text}}))
"""


@dataclass(frozen=True, slots=True)
class Refusal:
    """An answer that gives no credentials."""

    status: int
    code: str
    text: str


class Authority:
    """The running server: what it was asked, by whom, and what it gave. ``refuse`` is asked with the number of each request, from 1.

    A code of an MFA device counts once, and so does what renews a sign-on; ``renewals`` are the requests of the latter.
    """

    def __init__(
        self, lifetime: float, refuse: Callable[[int], Refusal | None], codes: Iterable[str], sign_on: float
    ) -> None:
        self.forms: list[dict[str, str]] = []
        self.signers: list[str] = []
        self.renewals: list[dict[str, str]] = []
        self._codes = set(codes)
        self._sign_on = sign_on
        self._lifetime = lifetime
        self._refuse = refuse
        self._lock = threading.Lock()
        self._given = 0
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            wbufsize = -1

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0)).decode()
                path = urlsplit(self.path).path
                form = {name: values[0] for name, values in parse_qs(body or urlsplit(self.path).query).items()}
                form |= {"bearer": self.headers.get("x-amz-sso_bearer_token", "")}
                signer = self.headers.get("Authorization", "").partition("Credential=")[2].partition("/")[0]
                if path == "/token":
                    status, kind, answer = outer.renewed(json.loads(body))
                elif path in ("/agent", f"{METADATA}/{MACHINE_ROLE}"):
                    status, kind, answer = outer.agent(
                        self.headers.get("Authorization", self.headers.get("x-aws-ec2-metadata-token", ""))
                    )
                elif path == "/latest/api/token":
                    status, kind, answer = 200, "text/plain", f"{CANARY}Metadata".encode()
                elif path == f"{METADATA}/":
                    status, kind, answer = 200, "text/plain", MACHINE_ROLE.encode()
                else:
                    status, kind, answer = outer.answer(form, signer)
                self.send_response(status)
                self.send_header("Content-Type", kind)
                self.send_header("Content-Length", str(len(answer)))
                if status >= 400 and kind == "application/json":
                    self.send_header("x-amzn-ErrorType", json.loads(answer)["__type"])
                self.end_headers()
                self.wfile.write(answer)

            do_GET = do_PUT = do_POST  # noqa: N815  # the base class finds its methods by these names

            def log_message(self, *args: object) -> None:
                return

        self._server = QuietServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        self._thread.start()

    def answer(self, form: dict[str, str], signer: str) -> tuple[int, str, bytes]:
        """Return status, content type and body."""
        action = form.get("Action", "")
        if action == "GetCallerIdentity":
            return (
                200,
                "text/xml",
                _xml(
                    action,
                    f"<Arn>arn:aws:sts::{ACCOUNT}:assumed-role/deployer/x</Arn><UserId>A</UserId><Account>{ACCOUNT}</Account>",
                ),
            )
        with self._lock:
            self.forms.append(form)
            self.signers.append(signer)
            refusal = self._refuse(len(self.forms))
            if refusal is None and "SerialNumber" in form and form["TokenCode"] not in self._codes:
                refusal = Refusal(
                    403, "AccessDenied", "MultiFactorAuthentication failed with invalid MFA one time pass code."
                )
            self._codes.discard(form.get("TokenCode", ""))
            if refusal is None:
                self._given += 1
            number = self._given
        if refusal is not None and action:
            text = f"<Code>{refusal.code}</Code><Message>{refusal.text}</Message>"
            return (
                refusal.status,
                "text/xml",
                f'<ErrorResponse xmlns="{_STS}"><Error>{text}</Error></ErrorResponse>'.encode(),
            )
        if refusal is not None:
            return (
                refusal.status,
                "application/json",
                json.dumps({"__type": refusal.code, "message": refusal.text}).encode(),
            )
        until = time.time() + self._lifetime
        key, one = f"KEY{number:04}", POOL[f"KEY{number:04}"]
        if not action:
            given = {
                "accessKeyId": key,
                "secretAccessKey": one.secret,
                "sessionToken": one.session_token,
                "expiration": int(until * 1000),
            }
            return 200, "application/json", json.dumps({"roleCredentials": given}).encode()
        expires = datetime.fromtimestamp(until, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        return (
            200,
            "text/xml",
            _xml(
                action,
                f"<AssumedRoleUser><Arn>arn:aws:sts::{ACCOUNT}:assumed-role/deployer/x</Arn><AssumedRoleId>A:x</AssumedRoleId></AssumedRoleUser>"
                f"<Credentials><AccessKeyId>{key}</AccessKeyId><SecretAccessKey>{one.secret}</SecretAccessKey>"
                f"<SessionToken>{one.session_token}</SessionToken><Expiration>{expires}</Expiration></Credentials>",
            ),
        )

    def renewed(self, asked: dict[str, str]) -> tuple[int, str, bytes]:
        """Renew a sign-on with the token that the last renewal gave; the first is number 0."""
        with self._lock:
            self.renewals.append(asked)
            good = (
                asked["refreshToken"] == f"{CANARY}Refresh{len(self.renewals) - 1}"
                and asked["clientSecret"] == f"{CANARY}Client"
            )
            number = len(self.renewals)
        if not good or self._sign_on <= 0:
            return (
                400,
                "application/json",
                json.dumps({"__type": "InvalidGrantException", "error": "invalid_grant"}).encode(),
            )
        given = {
            "accessToken": f"{CANARY}Bearer{number}",
            "expiresIn": int(self._sign_on),
            "refreshToken": f"{CANARY}Refresh{number}",
            "tokenType": "Bearer",
        }
        return 200, "application/json", json.dumps(given).encode()

    def agent(self, authorization: str) -> tuple[int, str, bytes]:
        """Give credentials as the agent of a container does, and a machine's metadata."""
        with self._lock:
            self.forms.append({"authorization": authorization})
            self._given += 1
            key = f"KEY{self._given:04}"
        until = datetime.fromtimestamp(time.time() + self._lifetime, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        given = {
            "Code": "Success",
            "AccessKeyId": key,
            "SecretAccessKey": POOL[key].secret,
            "Token": POOL[key].session_token,
            "Expiration": until,
        }
        return 200, "application/json", json.dumps(given).encode()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


def _xml(action: str, result: str) -> bytes:
    return f'<{action}Response xmlns="{_STS}"><{action}Result>{result}</{action}Result></{action}Response>'.encode()


@contextmanager
def authority(
    lifetime: float = 30,
    refuse: Callable[[int], Refusal | None] = lambda _: None,
    *,
    codes: Iterable[str] = (),
    sign_on: float = 3600,
) -> Iterator[Authority]:
    """Serve credentials that live so many seconds, and sign-ons that do. botocore renews credentials that have less than ten minutes left with every request."""
    server = Authority(lifetime, refuse, codes, sign_on)
    try:
        yield server
    finally:
        server.close()


def program(folder: Path, lifetime: int = 30, *, good: int = 0, otherwise: str = "") -> str:
    """Write a program that prints credentials; return the ``credential_process`` line. After so many good runs it does otherwise: fail, rubbish, naive, expired."""
    (folder / "give.py").write_text(_PROGRAM, encoding="utf-8")
    return f"credential_process = {sys.executable} -I -S {folder / 'give.py'} {folder / 'runs'} {lifetime} {good} {otherwise or 'go-on'}"


def runs(folder: Path) -> int:
    """Return how often the program was run."""
    return len((folder / "runs").read_bytes())
