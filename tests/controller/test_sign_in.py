from __future__ import annotations

import re
from pathlib import Path
from urllib.parse import urlencode

from reconciler.controller.app import SESSION_SECONDS, WRONG_TOKENS, WRONG_TOKENS_IN, SignIn, TooManyWrongTokens
from reconciler.git.git import Secret
from tests.controller.process import Running, running, until
from tests.controller.repos import Repo
from tests.controller.test_pages import read

FORM = "application/x-www-form-urlencoded"
SLOW = ("--fetch-interval", "1h", "--interval", "1h")


def post(controller: Running, path: str, cookie: str = "", fetched: str = "same-origin", **fields: str) -> tuple[int, str, str, str]:  # fmt: skip
    """Send a form as a browser does, and return status, text, location and cookie."""
    status, text, headers = controller.ask(
        path, "POST", urlencode(fields).encode(), Content_Type=FORM, Cookie=cookie, Sec_Fetch_Site=fetched
    )
    return status, text, headers.get("location", ""), headers.get("set-cookie", "")


def a_repo(folder: Path) -> Repo:
    repo = Repo(folder / "repo")
    targets = {"dev": {"region": "us-west-2", "sandbox": ".sandbox/dev.db"}}
    files = {
        "ivs-reconciler.yaml": {"stack": "acme", "targets": targets},
        "specs/live.yaml": {"channels": {"main": {}}},
    }
    repo.commit(files)
    return repo


def csrf_of(controller: Running, cookie: str, path: str = "/targets/dev") -> str:
    page = controller.ask(path, Cookie=cookie)[1]
    values = {each["value"] for each in read(page).all("input", name="csrf")}
    assert len(values) == 1, page
    return values.pop()


def test_buttons_work_for_a_signed_in_browser_only(tmp_path: Path) -> None:
    repo, token = a_repo(tmp_path), tmp_path / "token"
    token.write_text("a-long-random-token\n")
    with running(tmp_path, "--repo", str(repo.folder), *SLOW, "--control-token-file", str(token)) as controller:
        controller.until_ready()
        for path in ("/", "/targets/dev", "/targets/dev/resources"):
            page = read(controller.ask(path)[1])
            assert "Sign in" in page.words
            assert not page.all("form", method="post")
        policy = dict(each.split(" ", 1) for each in controller.ask("/")[2]["content-security-policy"].split("; "))
        assert re.fullmatch("'self' 'sha256-[A-Za-z0-9+/=]{44}'", policy["script-src"])
        assert {policy[each] for each in ("default-src", "base-uri", "frame-ancestors")} == {"'none'"}
        assert policy["form-action"] == policy["connect-src"] == "'self'"
        assert controller.ask("/status.js")[2]["content-type"].startswith("text/javascript")
        form = read(controller.ask("/sign-in?to=/targets/dev")[1])
        assert form.all("input", name="token", type="password", autocomplete="off")
        assert form.all("label", **{"for": "token"})

        # Signing in
        for given in ("wrong", "", "a-long-random-toke", "é\u2028"):
            status, text, _, cookie = post(controller, "/sign-in", token=given)
            assert (status, cookie, "The token is wrong." in text) == (403, "", True), given
        assert post(controller, "/sign-in", token="a-long-random-token", fetched="cross-site")[0] == 403
        for to, location in (
            ("/targets/dev", "/targets/dev"),
            ("/targets/dev/resources?q=a+b", "/targets/dev/resources?q=a+b"),
            ("https://evil.example/", "/"),
            ("//evil.example/", "/"),
            ("/\\evil.example", "/"),
            ("/targets/x\r\nSet-Cookie: a=b", "/"),
        ):
            status, _, found, set_cookie = post(controller, "/sign-in", token="a-long-random-token", to=to)
            assert (status, found) == (303, location), to
            assert re.fullmatch(r"ivs-reconciler-session=[\w-]{43}; HttpOnly; Path=/; SameSite=Strict", set_cookie)
        cookie = set_cookie.partition(";")[0]

        # Acting
        csrf = csrf_of(controller, cookie)
        page = read(controller.ask("/targets/dev", Cookie=cookie)[1])
        assert {each["aria-label"] for each in page.all("button", type="submit") if "aria-label" in each} == {
            "Refresh", "Reconcile dev", "Suspend dev",
        }  # fmt: skip
        for fields in ({}, {"csrf": ""}, {"csrf": "x" * 43}, {"csrf": csrf[:-1]}):
            assert post(controller, "/act", cookie, action="suspend", target="dev", **fields)[0] == 403
            assert post(controller, "/sign-out", cookie, **fields)[0] == 403
        for other in ("", "ivs-reconciler-session=", "ivs-reconciler-session=x", "a=b"):
            assert post(controller, "/act", other, csrf=csrf, action="suspend", target="dev")[0] == 403
        assert post(controller, "/act", cookie, "cross-site", csrf=csrf, action="suspend", target="dev")[0] == 403
        assert post(controller, "/act", cookie, "same-site", csrf=csrf, action="suspend", target="dev")[0] == 403
        assert post(controller, "/suspend?target=dev", cookie, csrf=csrf)[0] == 401
        assert controller.ask(f"/act?csrf={csrf}&action=suspend&target=dev", Cookie=cookie)[0] == 405
        assert 'tag v-suspended">suspended' not in controller.ask("/targets/dev")[1]
        for action, target, expected in (("suspend", "nowhere", 404), ("delete", "dev", 400), ("suspend", "", 400)):
            assert post(controller, "/act", cookie, csrf=csrf, action=action, target=target)[0] == expected

        status, _, location, _ = post(controller, "/act", cookie, csrf=csrf, action="suspend", target="dev")
        assert (status, location) == (303, "/targets/dev?done=suspend")
        page = read(controller.ask(location, Cookie=cookie)[1])  # at once, before the loop has read it
        assert "Suspended." in page.words
        assert "Resume dev" in {each.get("aria-label") for each in page.all("button")}
        assert [each["content"] for each in page.all("meta", **{"http-equiv": "refresh"})] == ["60; url=/targets/dev"]
        until(lambda: post(controller, "/act", cookie, csrf=csrf, action="reconcile", target="dev")[0] == 409)
        for action in ("resume", "reconcile"):
            runs = len(controller.lines("reconciled"))
            until(lambda action=action: post(controller, "/act", cookie, csrf=csrf, action=action, target="dev")[0] == 303)  # type: ignore[misc]  # fmt: skip
            until(lambda runs=runs: len(controller.lines("reconciled")) > runs)  # type: ignore[misc]
        repo.commit({"specs/live.yaml": {"channels": {"main": {}, "side": {}}}}, "Another")
        assert post(controller, "/act", cookie, csrf=csrf, action="refresh")[2] == "/?done=refresh"
        until(lambda: controller.lines("commit followed")[-1]["commit"] == repo.head)
        assert [line["action"] for line in controller.lines("request")].count("suspend") == 1

        # Signing out, and a token that was replaced
        second = post(controller, "/sign-in", token="a-long-random-token")[3].partition(";")[0]
        status, _, _, cleared = post(controller, "/sign-out", cookie, csrf=csrf)
        assert (status, "Max-Age=0" in cleared) == (303, True)
        assert post(controller, "/act", cookie, csrf=csrf, action="refresh")[0] == 403
        csrf = csrf_of(controller, second)
        assert post(controller, "/act", second, csrf=csrf, action="refresh")[0] == 303
        token.write_text("another-token\n")
        assert post(controller, "/act", second, csrf=csrf, action="refresh")[0] == 403
        token.unlink()
        assert controller.ask("/targets/dev", Cookie=second)[0] == 200  # reading needs no token

        # Guessing, in either way
        token.write_text("another-token\n")
        statuses = [post(controller, "/sign-in", token=str(number))[0] for number in range(WRONG_TOKENS + 2)]
        assert statuses[-2:] == [429, 429]
        assert post(controller, "/sign-in", token="another-token")[0] == 429
        status, _, headers = controller.ask("/suspend?target=dev", "POST", Authorization="Bearer another-token")
        assert (status, headers["retry-after"]) == (429, str(WRONG_TOKENS_IN))
        assert controller.ask("/")[0] == 200
        for secret in ("a-long-random-token", "another-token", cookie.partition("=")[2], csrf):
            assert secret not in controller.said


def test_without_a_token_the_pages_are_for_reading_only_and_over_https_the_cookie_is_secure(tmp_path: Path) -> None:
    repo = a_repo(tmp_path)
    with running(tmp_path, "--repo", str(repo.folder), *SLOW) as controller:
        controller.until_ready()
        assert "Sign in" not in read(controller.ask("/targets/dev")[1]).words
        assert controller.ask("/sign-in")[0] == post(controller, "/sign-in", token="")[0] == 404
        assert post(controller, "/act", csrf="", action="suspend", target="dev")[0] == 403
    secret = {"IVS_RECONCILER_CONTROL_TOKEN": "a-long-random-token"}
    words = ("--repo", str(repo.folder), *SLOW, "--public-url", "https://status.example.com")
    with running(tmp_path, *words, env=secret) as controller:
        assert "; Secure;" in post(controller, "/sign-in", token="a-long-random-token")[3]


def test_sessions_end_and_wrong_tokens_of_one_client_make_only_that_client_wait() -> None:
    now = 0.0
    signing = SignIn(Secret(value="right"), now=lambda: now)

    def waits(client: str) -> bool:
        try:
            signing.accepts("right", client)
        except TooManyWrongTokens:
            return True
        return False

    for client in ["203.0.113.7"] * WRONG_TOKENS + [f"2001:db8::{number}" for number in range(WRONG_TOKENS)]:
        assert not signing.accepts("wrong", client)
    assert [waits(client) for client in ("203.0.113.7", "203.0.113.8", "2001:db8::ffff", "2001:db9::1", "")] == [
        True, False, True, False, False,
    ]  # fmt: skip
    now += WRONG_TOKENS_IN
    assert not waits("203.0.113.7")

    first = signing.open()
    assert signing.session(first) is not None
    now += SESSION_SECONDS - 1
    assert signing.session(first) is not None
    now += 1
    assert signing.session(first) is None
    cookies = [signing.open() for _ in range(150)]
    assert [signing.session(cookie) is not None for cookie in cookies] == [False] * 50 + [True] * 100
    assert len({session.csrf for cookie in cookies if (session := signing.session(cookie))}) == 100
    assert not SignIn(Secret(value="")).accepts("", "203.0.113.7")
