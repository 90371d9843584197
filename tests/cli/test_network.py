"""CA certificates, proxies and loopback: one rule for AWS, forges, webhooks and git."""

from __future__ import annotations

import gc
import itertools
import socket
import ssl
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from requests.utils import should_bypass_proxies

from reconciler.aws.connection import connect
from reconciler.errors import ReconcilerError
from reconciler.forge.ci import open_forge
from reconciler.forge.client import Access, RetryBudget
from reconciler.git.git import Remote, Secret
from reconciler.git.source import Source
from reconciler.model.target import Target
from reconciler.network import CA_VARIABLES, bypass_proxies_for_loopback
from reconciler.plan.codec import dumps
from reconciler.sandbox import Sandbox
from reconciler.workflow.notifications import post_webhook
from tests.certificates import make_certificates
from tests.cli.support import REGION, run, stack
from tests.forge.forge import forge_server
from tests.forge.runs import github, gitlab
from tests.report.makers import a_plan, the_small_target

CLIENTS = ("aws", "github", "gitlab", "webhook", "git")
_REFUSED = b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"


@pytest.fixture(autouse=True)
def clean(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    names = (*CA_VARIABLES, "GIT_SSL_CAINFO", *(f"{one}_proxy" for one in ("http", "https", "all", "no")))
    for name in names:
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIAEXAMPLE")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    yield
    with warnings.catch_warnings():
        # The connections of the forges' clients end with the process of a run; here they are collected.
        warnings.simplefilter("ignore", ResourceWarning)
        gc.collect()


def ask(client: str, url: str, folder: Path) -> str:
    """Call a server with one of the clients, and return the error."""
    try:
        match client:
            case "aws":
                with connect(Target("prod", REGION, endpoint_url=url), sleep=lambda _: None):
                    pass
            case "webhook":
                post_webhook(url, b"{}", identity="1", sleep=lambda _: None, draw=lambda: 0.5, timeout=60)
            case "git":
                following = Source(
                    folder / "state", Remote(f"{url}/acme/live.git", token=Secret(value="a-token")), timeout=60
                )
                following.open()
                following.fetch()
            case _:
                budget = RetryBudget(sleep=lambda _: None)
                open_forge(Access(client, url, "acme/live", "token"), budget).head_of(1)
    except ReconcilerError as error:
        return str(error)
    return ""


class Authority:
    """A CA of one's own, and a server on loopback with a certificate of it that refuses every request (403)."""

    def __init__(self, folder: Path) -> None:
        self.requests = 0
        make_certificates(folder)
        self.bundle = folder / "ca.pem"
        self._tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._tls.load_cert_chain(folder / "cert.pem", folder / "key.pem")

    def answer(self, connection: socket.socket) -> None:
        with self._tls.wrap_socket(connection, server_side=True) as inside:
            if inside.recv(65_536):
                self.requests += 1
                inside.sendall(_REFUSED)


@contextmanager
def listening(answer: Callable[[socket.socket], None]) -> Iterator[int]:
    """Answer each connection to a port of loopback; yields the port."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            while True:
                try:
                    connection, _ = server.accept()
                except OSError:
                    return
                with connection:
                    connection.settimeout(60)
                    try:
                        answer(connection)
                    except OSError:
                        continue

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield server.getsockname()[1]
        server.shutdown(socket.SHUT_RDWR)
    thread.join(10)


@pytest.mark.parametrize("client", CLIENTS)
def test_every_client_trusts_the_same_certificates(
    client: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "other").mkdir()
    authority, other = Authority(tmp_path), Authority(tmp_path / "other")
    with listening(authority.answer) as port:
        url = f"https://127.0.0.1:{port}"
        assert "certificate" in ask(client, url, tmp_path).lower()
        assert authority.requests == 0, "an untrusted server gets no request"
        for variable in CA_VARIABLES:
            before = authority.requests
            monkeypatch.setenv(variable, str(authority.bundle))
            ask(client, url, tmp_path)
            assert authority.requests > before, variable
            monkeypatch.delenv(variable)
        # The first of them that is set counts.
        for first, second in itertools.pairwise(CA_VARIABLES):
            before = authority.requests
            monkeypatch.setenv(first, str(other.bundle))
            monkeypatch.setenv(second, str(authority.bundle))
            assert "certificate" in ask(client, url, tmp_path).lower(), first
            assert authority.requests == before
            monkeypatch.delenv(first)
            monkeypatch.delenv(second)


def test_aws_trusts_what_the_bundle_holds_now_and_only_the_name_of_the_certificate(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "other").mkdir()
    authority, other = Authority(tmp_path), Authority(tmp_path / "other")
    bundle = tmp_path / "bundle.pem"
    monkeypatch.setenv("AWS_CA_BUNDLE", str(bundle))
    with listening(authority.answer) as port:
        for trusted in (other, authority, other):
            replacement = tmp_path / "new.pem"
            replacement.write_bytes(trusted.bundle.read_bytes())
            replacement.replace(bundle)
            before = authority.requests
            said = ask("aws", f"https://127.0.0.1:{port}", tmp_path)
            assert ("certificate" in said.lower()) == (trusted is other)
            assert (authority.requests > before) == (trusted is authority)
        before = authority.requests
        bundle.write_bytes(authority.bundle.read_bytes())
        assert "localhost" in ask("aws", f"https://localhost:{port}", tmp_path)
        bundle.write_bytes(b"no certificate")
        assert "TLS failed" in ask("aws", f"https://127.0.0.1:{port}", tmp_path)
        assert authority.requests == before


@pytest.mark.parametrize("variable", CA_VARIABLES)
def test_certificates_that_are_not_there_are_named_before_anything_is_sent(
    variable: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(variable, str(tmp_path / "gone.pem"))
    for client in CLIENTS:
        assert ask(client, "https://127.0.0.1:9", tmp_path).startswith(f"{variable} names "), client


@pytest.mark.parametrize("client", CLIENTS)
def test_the_refusal_of_a_proxy_is_named(client: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[bytes] = []

    def refuse(connection: socket.socket) -> None:
        asked.append(connection.recv(65_536))
        connection.sendall(b"HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n")

    with listening(refuse) as port:
        monkeypatch.setenv("https_proxy", f"http://me:zzCANARYzz@127.0.0.1:{port}")
        said = ask(client, "https://there.example", tmp_path)
    assert asked[0].startswith(b"CONNECT there.example:443 ")
    assert "407" in said
    assert "proxy" in said.lower()
    assert "CANARY" not in said


def test_loopback_is_never_asked_for_through_a_proxy(tmp_path: Path) -> None:
    dead = {
        "http_proxy": "http://127.0.0.1:9",
        "HTTP_PROXY": "http://127.0.0.1:9",
        "no_proxy": "",
        "NO_PROXY": "x.example",
    }
    with Sandbox() as sandbox:
        target = {"sandbox": None, "endpointUrl": sandbox.endpoint_url}
        folder = stack(tmp_path / "acme", {"channels": {"one": {}}}, target=target)
        ran = run(folder, "plan", env=dead | {"AWS_ACCESS_KEY_ID": "123456789012", "AWS_SECRET_ACCESS_KEY": "x"})
        assert ran.code == 0, ran.err
    (tmp_path / "p.json").write_text(dumps(a_plan(the_small_target())), encoding="utf-8")
    with forge_server() as forge:
        for env in (github(forge, tmp_path), gitlab(forge)):
            ran = run(tmp_path, "comment", "--plan", "p.json", env=env | dead)
            assert ran.code == 0, ran.err


def test_no_proxy_for_every_host_stays_so(monkeypatch: pytest.MonkeyPatch) -> None:
    for known in ("*", " * "):
        environment = {"NO_PROXY": known}
        bypass_proxies_for_loopback(environment)
        for name in ("no_proxy", "NO_PROXY"):
            monkeypatch.setenv(name, environment[name])
        assert should_bypass_proxies("https://there.example", None)
