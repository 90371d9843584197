from __future__ import annotations

import hashlib
import hmac
import http.client
import random
import signal
import socket
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import pytest

from reconciler.sandbox import Sandbox
from tests.cli.support import ACCOUNT, REGION, arn_of, client, run
from tests.controller.process import CREDENTIALS, PATIENCE, Running, running, until
from tests.controller.repos import Repo, over_http

SPEC = {"channels": {"main-stage": {"streamKey": {}}, "side-stage": {"latencyMode": "NORMAL"}}}
QUICK = ("--fetch-interval", "3600s", "--interval", "3600s")
HOOK, LAB, CONTROL = "hook-secret-1", "lab-token-2", "control-token-3"
SECRETS = {
    "IVS_RECONCILER_GITHUB_SECRET": HOOK,
    "IVS_RECONCILER_GITLAB_TOKEN": LAB,
    "IVS_RECONCILER_CONTROL_TOKEN": CONTROL,
}


@pytest.fixture
def sandbox() -> Iterator[Sandbox]:
    with Sandbox() as sandbox:
        yield sandbox


@pytest.fixture
def repo(tmp_path: Path, sandbox: Sandbox) -> Repo:
    repo = Repo(tmp_path / "served" / "repo")
    target = {"region": REGION, "accountId": ACCOUNT, "endpointUrl": sandbox.endpoint_url}
    repo.commit({"ivs-reconciler.yaml": {"stack": "acme-live", "targets": {"dev": target}}, "specs/live.yaml": SPEC})
    return repo


def signed(body: bytes, secret: str = HOOK) -> str:
    return "sha256=" + hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()


def created(sandbox: Sandbox) -> list[Any]:
    return [call for call in sandbox.control.calls(operation="CreateChannel", limit=10_000) if call["status"] == 200]


def test_it_becomes_ready_serves_and_stops(tmp_path: Path, repo: Repo, sandbox: Sandbox) -> None:
    with running(tmp_path, "--repo", str(repo.folder), *QUICK) as controller:
        assert controller.ask("/healthz")[:2] == (200, "alive\n")
        controller.until_ready()
        status, page, headers = controller.ask("/")
        assert status == 200
        assert "acme-live" in page
        assert headers["content-security-policy"].startswith("default-src 'none'")
        assert (headers["x-content-type-options"], headers["cache-control"], headers["referrer-policy"]) == (
            "nosniff",
            "no-store",
            "no-referrer",
        )
        assert 'ivs_reconciler_in_sync{stack="acme-live",target="dev"} 0.0' in controller.ask("/metrics")[1]
        (line,) = controller.lines("reconciled")
        assert (line["target"], line["status"], line["commit"], line["pending"]) == ("dev", "pending", repo.head, 3)
        assert controller.end() == 0
        assert not created(sandbox)


def test_a_webhook_brings_a_commit_at_once_and_only_with_its_signature(tmp_path: Path, repo: Repo) -> None:
    with running(tmp_path, "--repo", str(repo.folder), *QUICK, env=SECRETS) as controller:
        controller.until_ready()
        body = b'{"ref": "refs/heads/main"}'
        commit = repo.commit({"specs/live.yaml": {"channels": {"only": {}}}})
        refused = [
            controller.ask("/hooks/github", "POST", body),
            controller.ask("/hooks/github", "POST", body, X_Hub_Signature_256=signed(body, "other")),
            controller.ask("/hooks/github", "POST", body + b" ", X_Hub_Signature_256=signed(body)),
            controller.ask("/hooks/github", "POST", body, X_Hub_Signature_256="sha256=\xe9"),
            controller.ask("/hooks/gitlab", "POST", body, X_Gitlab_Token="wrong"),
            controller.ask("/hooks/gitlab", "POST", body),
        ]
        assert [status for status, _, _ in refused] == [401] * 6
        assert not [line for line in controller.lines("reconciled") if line["commit"] == commit]
        assert controller.ask("/hooks/github", "GET")[0] == 405
        assert controller.ask("/hooks/github", "POST", body, X_Hub_Signature_256=signed(body))[0] == 202
        until(lambda: any(line["commit"] == commit for line in controller.lines("reconciled")))
        second = repo.commit({"specs/live.yaml": {"channels": {"other": {}}}})
        assert controller.ask("/hooks/gitlab", "POST", b"{}", X_Gitlab_Token=LAB)[0] == 202
        until(lambda: any(line["commit"] == second for line in controller.lines("reconciled")))


def test_requests_need_the_token(tmp_path: Path, repo: Repo) -> None:
    names = ("--public-url", "https://status.example.com/ivs", "--allow-host", "ivs.internal.example")
    with running(tmp_path, "--repo", str(repo.folder), *QUICK, *names, env=SECRETS) as controller:
        controller.until_ready()
        token = f"Bearer {CONTROL}"
        for host, status in (
            ("status.example.com", 200),
            ("IVS.internal.example:8080", 200),
            ("localhost:1", 200),
            ("evil.example", 403),
            ("internal.example", 403),
        ):
            assert controller.ask("/metrics", Host=host)[0] == status, host
        many = "&".join(f"field{number}=x" for number in range(200))
        for path in ("/", "/healthz", "/metrics", "/targets/dev"):
            assert controller.ask(f"{path}?{many}")[0] == 200, path
        assert controller.ask(f"/reconcile?{many}&target=dev", "POST", Authorization=token)[0] == 202
        for path in ("/reconcile?target=dev", "/suspend?target=dev", "/resume?target=dev"):
            status, _, headers = controller.ask(path, "POST")
            assert (status, headers["www-authenticate"].strip()) == (401, "Bearer")
            assert controller.ask(path, "POST", Authorization="Bearer wrong")[0] == 401
            assert controller.ask(path)[0] == 405
        assert controller.ask("/reconcile?target=nowhere", "POST", Authorization=token)[0] == 404
        assert controller.ask("/reconcile", "POST", Authorization=token)[0] == 404
        assert controller.ask("/reconcile?target=dev", "POST", Authorization=token)[0] == 202
        until(lambda: len(controller.lines("reconciled")) >= 2)  # both requests may be one run
        assert controller.ask("/suspend?target=dev", "POST", Authorization=token)[0] == 202
        controller.wait_for("/targets/dev", lambda _, page: "suspended" in page)
        assert controller.ask("/reconcile?target=dev", "POST", Authorization=token)[0] == 409
        # The command line beside it says the same through the state folder.
        assert run(tmp_path, "run", "--now", "nowhere").code == 1
        seen = len(controller.lines("reconciled"))
        assert run(tmp_path, "run", "--resume", "dev").out == "dev: resumed\n"
        until(lambda: len(controller.lines("reconciled")) > seen)
        # With a state that cannot be used, a request that was not carried out says why.
        with closing(sqlite3.connect(tmp_path / "controller-state" / "controller.db", isolation_level=None)) as db:
            db.execute("ALTER TABLE targets RENAME TO away")
            for path, method, said in (
                ("/", "GET", "cannot read the state: no such table: targets"),
                ("/suspend?target=dev", "POST", "cannot write the state: no such table: targets"),
            ):
                status, text, _ = controller.ask(path, method, Authorization=token)
                assert (status, text.strip()) == (500, said)
            db.execute("ALTER TABLE away RENAME TO targets")
        assert controller.end() == 0


def test_a_mistyped_repository_is_not_the_one_of_last_time(tmp_path: Path, repo: Repo) -> None:
    assert run(tmp_path, "run", "--repo", str(repo.folder), "--once", env=CREDENTIALS).code == 5
    for words in (("--repo", f"{repo.folder}-typo"), ("--repo", str(repo.folder), "--branch", "mian")):
        ran = run(tmp_path, "run", *words, "--once", "--mode", "apply", env=CREDENTIALS)
        assert (ran.code, ran.out) == (1, "")
        assert "it is not a git repository" in ran.err or "has no branch 'mian'" in ran.err


def test_a_state_directory_that_cannot_be_created_is_named_with_the_option(tmp_path: Path, repo: Repo) -> None:
    state = repo.folder / "ivs-reconciler.yaml" / "state"
    ran = run(tmp_path, "run", "--repo", str(repo.folder), "--once", "--state", str(state), env=CREDENTIALS)
    assert (ran.code, ran.err) == (
        1,
        f"cannot create the state directory {state} (not a directory); use another with --state\n",
    )


def test_without_secrets_nothing_is_listened_to(tmp_path: Path, repo: Repo) -> None:
    with running(tmp_path, "--repo", str(repo.folder), *QUICK) as controller:
        body = b"{}"
        assert controller.ask("/hooks/github", "POST", body, X_Hub_Signature_256=signed(body, ""))[0] == 404
        assert controller.ask("/hooks/gitlab", "POST", body, X_Gitlab_Token="")[0] == 404
        assert controller.ask("/reconcile?target=dev", "POST", Authorization="Bearer ")[0] == 404


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "OPTIONS"])
def test_nothing_else_can_be_done_through_it(tmp_path: Path, repo: Repo, method: str) -> None:
    del repo
    with running(tmp_path, "--repo", str(tmp_path / "nowhere"), *QUICK) as controller:
        for path in ("/", "/healthz", "/readyz", "/metrics", "/targets/dev"):
            status, _, headers = controller.ask(path, method)
            assert (status, set(headers["allow"].split(", "))) == (405, {"GET", "HEAD"})
        assert controller.ask("/", "HEAD")[:2] == (200, "")
        assert [
            controller.ask(path)[0]
            for path in ("/x", "/targets/", "/targets/../x", "/targets/dev", "/targets/%00", "/targets/a/plans/b")
        ] == [404] * 6


def test_what_strangers_send_is_bounded(tmp_path: Path) -> None:
    with running(tmp_path, "--repo", str(tmp_path / "nowhere"), *QUICK, env=SECRETS) as controller:
        assert again(lambda: controller.ask("/hooks/github", "POST", b"x" * 1_048_577))[0] == 413
        assert controller.ask("/" + "x" * 5_000)[0] == 414
        for sent, status in (
            (
                b"GET / HTTP/1.1\r\nHost: here\r\n"
                + b"".join(b"X-%d: y\r\n" % number for number in range(200))
                + b"\r\n",
                b"431",
            ),
            (b"GET / HTTP/1.1\r\nHost: here\r\nX: " + b"y" * 70_000 + b"\r\n\r\n", b"431"),
            (b"POST /hooks/github HTTP/1.1\r\nHost: here\r\nContent-Length: -1\r\n\r\n", b"400"),
            (b"POST /hooks/github HTTP/1.1\r\nHost: here\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nx", b"400"),
            (b"POST /hooks/github HTTP/1.1\r\nHost: here\r\nTransfer-Encoding: gzip\r\n\r\n", b"501"),
            # A chunked body is read, within the same bounds, and has no signature.
            (b"POST /hooks/github HTTP/1.1\r\nHost: here\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", b"401"),
            (b"GET /<script>alert(1)</script> HTTP/1.1\r\nHost: here\r\n<script>: x\r\n\r\n", b"400"),
            (b"GET /<script>alert(1)</script> HTTP/1.1\r\nHost: here\r\n\r\n", b"404"),
        ):
            answer = raw(controller, sent)
            assert (answer.split()[1], b"<script>" in answer) == (status, False), sent[:60]
            assert b"X-Content-Type-Options: nosniff\r\n" in answer
        assert b"<script>" not in raw(controller, b"<script>alert(1)</script>\r\n\r\n")
        # Connections that say nothing neither stop the others nor pile up without end.
        silent = [socket.create_connection(("127.0.0.1", controller.port)) for _ in range(40)]
        assert controller.ask("/healthz")[0] == 200
        for each in silent:
            each.close()


def again(work: Callable[[], Any]) -> Any:
    """Work once more where the server had closed before everything was sent, which takes its answer away from a slow sender."""
    for _ in range(20):
        try:
            return work()
        except (BrokenPipeError, ConnectionResetError):
            time.sleep(0.05)
    return work()


def raw(controller: Running, sent: bytes) -> bytes:
    def work() -> bytes:
        with socket.create_connection(("127.0.0.1", controller.port), timeout=PATIENCE) as connection:
            connection.sendall(sent)
            with suppress(OSError):  # refused and closed by now
                connection.shutdown(socket.SHUT_WR)
            answer = b""
            try:
                while part := connection.recv(65_536):
                    answer += part
            except ConnectionResetError:
                if not answer:
                    raise
            return answer

    answer: bytes = again(work)
    return answer


def test_a_stop_lets_in_flight_calls_finish_and_the_next_start_continues(
    tmp_path: Path, repo: Repo, sandbox: Sandbox
) -> None:
    repo.commit({"specs/live.yaml": {"channels": {f"stage-{number:02}": {} for number in range(24)}}})
    sandbox.control.add_fault("delay", operation="CreateChannel", seconds=0.6, times=None)
    with running(tmp_path, "--repo", str(repo.folder), *QUICK, "--mode", "apply") as controller:
        until(lambda: len(created(sandbox)) >= 2)
        assert controller.end() == 0
    done = created(sandbox)
    assert 2 <= len(done) < 24
    (line,) = controller.lines("reconciled")
    assert (line["status"], line["done"]) == ("incomplete", len(done))
    sandbox.control.clear_faults()
    with running(tmp_path, "--repo", str(repo.folder), *QUICK, "--mode", "apply") as controller:
        controller.until_ready()
    assert len(created(sandbox)) == 24
    assert len(client(sandbox.endpoint_url).list_channels(maxResults=100)["channels"]) == 24


def test_killed_at_random_moments_it_resumes_and_duplicates_nothing(
    tmp_path: Path, repo: Repo, sandbox: Sandbox
) -> None:
    channels: dict[str, object] = {f"stage-{number:02}": {} for number in range(16)}
    repo.commit({"specs/live.yaml": {"channels": channels}})
    sandbox.control.add_fault("delay", operation="CreateChannel", seconds=0.15, times=None)
    moments = random.Random(5)
    for _ in range(4):
        others = set(threading.enumerate())
        with running(tmp_path, "--repo", str(repo.folder), *QUICK, "--mode", "apply") as controller:
            before = len(created(sandbox))
            until(lambda before=before: len(created(sandbox)) > before or bool(controller.lines("reconciled")))  # type: ignore[misc]
            time.sleep(moments.uniform(0, 0.3))
            controller.end(signal.SIGKILL)
        # The server is not done with the calls in flight. What they create after the next controller has read the account is a duplicate.
        until(lambda others=others: set(threading.enumerate()) <= others)  # type: ignore[misc]
    sandbox.control.clear_faults()
    with running(tmp_path, "--repo", str(repo.folder), *QUICK, "--mode", "apply") as controller:
        controller.until_ready()
        assert controller.lines("reconciled")[-1]["status"] in ("applied", "in-sync")
        assert controller.end() == 0
    names = [channel["name"] for channel in client(sandbox.endpoint_url).list_channels(maxResults=100)["channels"]]
    assert sorted(names) == sorted(channels)


def test_two_controllers_do_not_share_a_folder(tmp_path: Path, repo: Repo) -> None:
    with running(tmp_path, "--repo", str(repo.folder), *QUICK):
        second = run(tmp_path, "run", "--repo", str(repo.folder), "--once", env=CREDENTIALS)
        assert second.code == 1
        assert "another controller uses" in second.err


def test_no_secret_is_in_any_page_log_or_file(tmp_path: Path, repo: Repo, sandbox: Sandbox) -> None:
    token = "ghs_abcDEF123456"
    with (
        over_http(repo.folder.parent, password=token) as (url, _),
        running(
            tmp_path,
            "--repo",
            f"{url}/repo/.git",
            *QUICK,
            "--mode",
            "apply",
            "-vv",
            env={**SECRETS, "IVS_RECONCILER_GIT_TOKEN": token},
        ) as controller,
    ):
        controller.until_ready()
        ivs = client(sandbox.endpoint_url)
        keys = [
            ivs.get_stream_key(arn=key["arn"])["streamKey"]["value"]
            for key in ivs.list_stream_keys(channelArn=arn_of(ivs, "main-stage"))["streamKeys"]
        ]
        secrets = [token, *SECRETS.values(), CREDENTIALS["AWS_SECRET_ACCESS_KEY"], *keys]
        assert keys
        ivs.update_channel(arn=arn_of(ivs, "side-stage"), latencyMode="LOW")
        controller.ask("/reconcile?target=dev", "POST", Authorization=f"Bearer {CONTROL}")
        until(lambda: len(controller.lines("reconciled")) == 2)
        page = controller.wait_for("/targets/dev", lambda _, page: page.count("/plans/") == 2)
        links = ["/", "/targets/dev", "/metrics", *{part.partition('"')[0] for part in page.split('href="')[1:]}]
        assert any("/plans/" in link for link in links)
        assert any("/runs/" in link for link in links)
        seen = "".join(controller.ask(link)[1] for link in links) + controller.said
        assert controller.end() == 0
    kept = b"".join(path.read_bytes() for path in (tmp_path / "controller-state").rglob("*") if path.is_file())
    from reconciler.controller.store import Store

    with closing(Store(tmp_path / "controller-state" / "controller.db")) as store:
        kept += "\n".join(store._db.iterdump()).encode()
    for secret in secrets:
        assert secret not in seen
        assert secret.encode() not in kept
    steps = [line for line in controller.lines("step") if line["operation"] == "UpdateChannel"]
    assert steps
    assert steps[0]["request_id"], steps
    assert steps[0]["plan"].startswith("sha256:")


def test_once_ends_as_drift_does(tmp_path: Path, repo: Repo, sandbox: Sandbox) -> None:
    words = ("run", "--repo", str(repo.folder), "--once")
    assert run(tmp_path, *words, env=CREDENTIALS).code == 5
    applied = run(tmp_path, *words, "--mode", "apply", env=CREDENTIALS)
    assert (applied.code, applied.out.splitlines()[1]) == (0, "dev: applied (apply; 3 managed, 0 drifted, 0 pending)")
    ivs = client(sandbox.endpoint_url)
    ivs.update_channel(arn=arn_of(ivs, "side-stage"), latencyMode="LOW")
    assert run(tmp_path, *words, env=CREDENTIALS).code == 2
    repo.commit({"specs/live.yaml": "channels: {a: {latencyMode: ULTRA}}\n"})
    bad = run(tmp_path, *words, env=CREDENTIALS)
    assert bad.code == 1
    assert "specs/live.yaml:1:29" in bad.out
    assert "dev: bad-spec (observe; account not read)" in bad.out
    assert "no target 'prdo' at commit" in run(tmp_path, *words, "-t", "prdo", env=CREDENTIALS).err
    repo.git("checkout", "--quiet", "-b", "other")
    repo.git("branch", "-D", "main")
    gone = run(tmp_path, *words, env=CREDENTIALS)
    assert (gone.code, "has no branch 'main'" in gone.err) == (1, True)


@pytest.mark.parametrize("package", ["prometheus_client", "waitress", "werkzeug"])
def test_without_its_extra_it_says_what_to_install(tmp_path: Path, package: str) -> None:
    script = f"import sys; sys.modules[{package!r}] = None; from reconciler.cli.main import main; sys.exit(main())"
    done = subprocess.run(
        [sys.executable, "-c", script, "run", "--repo", "."], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout, list(tmp_path.iterdir())) == (1, "", [])
    (line,) = done.stderr.splitlines()
    assert package in line
    assert line.endswith('pip install "ivs-reconciler[controller]"')


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ((), "no repository; use --repo"),
        (("--repo", "https://u:p@h/x"), "contains a user name or password"),
        (("--repo", ".", "--mode", "aply"), "--mode: 'aply' is not one of observe, plan, heal, apply"),
        (("--repo", ".", "--interval", "soon"), "--interval: 'soon' is not a duration"),
        (("--repo", ".", "--listen", "everywhere"), "is not HOST:PORT"),
        (("--repo", ".", "--config-file", "nowhere.yaml"), "use --config-file with a settings file"),
        (("--repo", ".", "--github-secret-file", "nowhere"), "cannot read the GitHub webhook secret from "),
        (("--suspend", "dev"), "is not the state directory of a controller; use --state"),
    ],
)
def test_a_wrong_call_says_what_to_do(tmp_path: Path, words: tuple[str, ...], said: str) -> None:
    shown = run(tmp_path, "run", *words)
    assert shown.code == 1
    assert said in shown.err


def test_a_slow_client_does_not_hold_a_stop_up(tmp_path: Path, repo: Repo) -> None:
    with running(tmp_path, "--repo", str(repo.folder), *QUICK) as controller:
        connection = http.client.HTTPConnection("127.0.0.1", controller.port, timeout=PATIENCE)
        connection.putrequest("POST", "/hooks/github")
        connection.putheader("Content-Length", "10")
        connection.endheaders()
        assert controller.end() == 0
        connection.close()


def test_a_new_target_is_accepted_beside_the_controller(tmp_path: Path, repo: Repo, sandbox: Sandbox) -> None:
    words = ("run", "--repo", str(repo.folder), "--once", "--mode", "apply")
    assert run(tmp_path, *words, env=CREDENTIALS).code == 0
    dev = {"region": REGION, "accountId": ACCOUNT, "endpointUrl": sandbox.endpoint_url}
    more = {"dev": dev, "new": {**dev, "region": "eu-west-1"}}
    repo.commit({"ivs-reconciler.yaml": {"stack": "acme-live", "targets": more}})
    ran = run(tmp_path, *words, env=CREDENTIALS)
    assert ran.code == 5
    assert "new: pending (observe;" in ran.out
    assert f"the target is new (eu-west-1, account {ACCOUNT}, endpoint {sandbox.endpoint_url})" in ran.out
    assert run(tmp_path, "run", "--accept", "nowhere", env=CREDENTIALS).code == 1
    moved = run(tmp_path, "run", "--accept", "new@01234567", env=CREDENTIALS)
    assert (moved.code, "new is no longer where new@01234567 was: it is in eu-west-1" in moved.err) == (1, True)
    accepted = run(tmp_path, "run", "--accept", "new", env=CREDENTIALS)
    assert accepted.out == f"new: accepted (eu-west-1, account {ACCOUNT}, endpoint {sandbox.endpoint_url})\n"
    ran = run(tmp_path, *words, env=CREDENTIALS)
    assert (ran.code, "new: applied (apply;" in ran.out) == (0, True)
    repo.commit({"ivs-reconciler.yaml": {"stack": "acme-2", "targets": more}})
    ran = run(tmp_path, *words, env=CREDENTIALS)
    assert (ran.code, "renames the stack from acme-live to acme-2" in ran.err) == (1, True)
    assert run(tmp_path, *words, "--allow-new-stack", env=CREDENTIALS).code == 3
    repo.commit({"ivs-reconciler.yaml": {"stack": "acme-2", "targets": {"dev": dev}}})
    run(tmp_path, *words, env=CREDENTIALS)
    for flag in ("--accept", "--suspend", "--now"):
        gone = run(tmp_path, "run", flag, "new", env=CREDENTIALS)
        assert (gone.code, "follows has no target 'new'; its targets are dev" in gone.err) == (1, True)
    assert run(tmp_path, "run", "--resume", "new", env=CREDENTIALS).out == "new: resumed\n"
