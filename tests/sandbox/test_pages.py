"""The pages for a browser, over HTTP: search and pages of resources, one page a resource, streams, who may do what."""

from __future__ import annotations

import http.client
import json
import re
import time
from collections.abc import Iterator
from html.parser import HTMLParser
from typing import Any
from urllib.parse import quote, urlencode, urlsplit

import boto3
import pytest

from reconciler.sandbox import Sandbox
from reconciler.sandbox.state.store import Store
from reconciler.sandbox.state.world import World
from tests.browser import FAINT, UNNAMED, Tab, a_browser, needs_browser
from tests.sandbox.conftest import ACCOUNT, REGION

CHANNELS = 5_000
FORM = "application/x-www-form-urlencoded"


class Page(HTMLParser):
    """Checks the structure of a page: names for all that can be operated, headings of columns, unique ids."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[tuple[str, dict[str, str | None]]] = []
        self.ids: list[str] = []
        self.landmarks: set[str] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        known = dict(attrs)
        self.ids += [known["id"] or ""] if "id" in known else []
        assert tag != "script"
        assert not [name for name in known if name.startswith("on")]
        if tag in ("input", "select") and known.get("type") != "hidden":
            assert known.get("aria-label") or "label" in [name for name, _ in self.open], known
        if tag == "th":
            assert known.get("scope") == "col"
        if tag == "td":
            assert known.get("data-head")
        if tag in ("nav", "main", "header", "h1"):
            self.landmarks.add(tag)
        if tag == "nav":
            assert known.get("aria-label")
        if tag not in ("meta", "input", "wbr"):
            self.open.append((tag, known))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop()[0] == tag


def checked(text: str) -> str:
    """Return the text of a page whose structure is right."""
    reader = Page()
    reader.feed(text)
    reader.close()
    assert reader.open == []
    assert len(reader.ids) == len(set(reader.ids))
    assert {"main", "header", "h1"} <= reader.landmarks
    return text


class Visitor:
    """A browser without a screen: keeps cookies and sends its origin with forms."""

    def __init__(self, sandbox: Sandbox) -> None:
        self._host = urlsplit(sandbox.endpoint_url).netloc
        self.headers: dict[str, str] = {}

    def ask(self, method: str, path: str, body: str | None = None, **headers: str) -> tuple[int, dict[str, str], str]:
        connection = http.client.HTTPConnection(self._host, timeout=60)
        names = {name.replace("_", "-"): value for name, value in headers.items()}
        connection.request(method, path, body, {**self.headers, **names})
        answer = connection.getresponse()
        found = {name.lower(): value for name, value in answer.getheaders()}
        text = answer.read().decode()
        connection.close()
        return answer.status, found, text

    def get(self, path: str, status: int = 200) -> str:
        got, headers, text = self.ask("GET", path)
        assert got == status, text
        policy = headers["content-security-policy"]
        for part in ("default-src 'none'", "form-action 'self'", "frame-ancestors 'none'", "base-uri 'none'"):
            assert part in policy
        return checked(text)

    def send(self, path: str, origin: str | None = "", **form: str) -> tuple[int, dict[str, str], str]:
        sent = {} if origin is None else {"Origin": origin or f"http://{self._host}"}
        return self.ask("POST", path, urlencode(form), Content_Type=FORM, **sent)


def of(arn: str) -> str:
    return f"/resource?arn={quote(arn, safe='')}"


def names(text: str) -> list[str]:
    return re.findall(r'<span class="name"><a [^>]*>([^<]*)</a>', text)


@pytest.fixture(scope="module")
def full(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sandbox]:
    """A sandbox with 5,000 channels and their stream keys in one region, and one channel in another."""
    path = tmp_path_factory.mktemp("full") / "state.db"
    with Sandbox(path) as sandbox:
        ivs, other = (
            boto3.client("ivs", endpoint_url=sandbox.endpoint_url, region_name=region, aws_access_key_id=ACCOUNT, aws_secret_access_key="any")
            for region in (REGION, "eu-west-1")
        )  # fmt: skip
        made = ivs.create_channel(name="stage-0000", tags={"team": "video", "slot": "0"})
        other.create_channel(name="elsewhere")
        store = Store(path)
        with store.transaction(write=True) as connection:
            world = World(connection, ACCOUNT, REGION, time.time())
            for number in range(1, CHANNELS):
                copy = {**made["channel"], "name": f"stage-{number:04}", "tags": {"team": "video", "slot": str(number)}}
                copy["arn"] = f"{made['channel']['arn'][:-4]}{number:04}"
                world.insert("channel", copy)
                key = {**made["streamKey"], "arn": f"{made['streamKey']['arn'][:-4]}{number:04}"}
                world.insert("stream-key", {**key, "channelArn": copy["arn"]}, parent=copy["arn"])
        store.close()
        yield sandbox


def test_five_thousand_channels_are_found_filtered_and_paged(full: Sandbox) -> None:
    visitor = Visitor(full)
    text = visitor.get("/resources")
    assert "1 to 50 of 5,001" in text
    assert names(text)[:2] == ["stage-4999", "stage-4998"]
    assert len(text) < 100_000
    assert 'rel="prev"' not in text
    assert "Page 1 of 101" in text
    last = visitor.get("/resources?page=101")
    assert names(last) == ["stage-0000"]
    assert 'rel="next"' not in last
    for beyond in ("999999999999999", "0", "-1", "x"):
        assert "Page " in visitor.get(f"/resources?page={beyond}")
    for words, found in (
        ("stage-4321", ["stage-4321"]),
        ("STAGE-4321 video", ["stage-4321"]),
        ("slot=77", ["stage-0077", *(f"stage-077{each}" for each in range(10))]),
        ("channel/ eu-west-1", ["elsewhere"]),
        ("stage-4321 slot=1", []),
        ("%", []),
        ("'", []),
    ):
        text = visitor.get(f"/resources?kind=channel&text={quote(words)}")
        assert sorted(names(text)) == found, words
    assert "No resources match." in visitor.get("/resources?text=nothing")
    assert "1 to 50 of 5,001" in visitor.get("/resources?kind=stream-key")
    one = visitor.get(f"/resources?account={ACCOUNT}&region=eu-west-1")
    assert names(one) == ["elsewhere"]
    overview = visitor.get("/")
    assert 'href="/resources?kind=channel&amp;account=123456789012&amp;region=us-west-2"' in overview
    assert "25 of 5,001" in overview
    assert f"<pre>export {full.client_settings(full.endpoint_url)}</pre>" in overview


def test_a_search_does_not_reveal_secrets(full: Sandbox) -> None:
    (row,) = full.control.inventory(text="stage-0000")
    (key,) = full.control.resource(row["arn"])["children"]
    ivs = boto3.client("ivs", endpoint_url=full.endpoint_url, region_name=REGION, aws_access_key_id=ACCOUNT, aws_secret_access_key="any")  # fmt: skip
    value = ivs.get_stream_key(arn=key)["streamKey"]["value"]
    phrase = ivs.get_channel(arn=row["arn"])["channel"]["srt"]["passphrase"]
    for secret in (value, value[:14], phrase, phrase[:6]):
        assert full.control.inventory(text=secret) == []
    visitor = Visitor(full)
    seen = visitor.get(of(key)) + visitor.get(of(row["arn"])) + json.dumps(full.control.resource(key))
    assert seen.count("****") >= 3
    assert value not in seen
    assert phrase not in seen


def test_a_resource_has_a_page_with_tags_links_and_its_calls(ivs: Any, client: Any, sandbox: Sandbox) -> None:
    visitor = Visitor(sandbox)
    record = ivs.create_recording_configuration(name="archive", destinationConfiguration={"s3": {"bucketName": "vod"}})
    recording = record["recordingConfiguration"]["arn"]
    sandbox.control.advance(10)
    made = ivs.create_channel(name="stage", tags={"team": "a=b"}, recordingConfigurationArn=recording)
    arn, key = made["channel"]["arn"], made["streamKey"]["arn"]
    other = ivs.create_channel(name="other")["channel"]["arn"]
    ivs.get_channel(arn=arn)
    ivs.batch_get_channel(arns=[other, arn])
    ivs.tag_resource(resourceArn=arn, tags={"event": "x"})
    with pytest.raises(ivs.exceptions.ConflictException):
        ivs.delete_recording_configuration(arn=recording)
    text = visitor.get(of(arn))
    assert '<code>team</code></td><td data-head="value"><code>a=b</code>' in text
    assert f'<a href="{of(recording)}">' in text
    assert f'<a href="{of(key)}">' in text
    assert re.findall(r'data-head="operation"><code>(\w+)', text) == [
        "TagResource",
        "BatchGetChannel",
        "GetChannel",
        "CreateChannel",
    ]
    assert re.findall(r'data-head="operation"><code>(\w+)', visitor.get(of(other))) == [
        "BatchGetChannel",
        "CreateChannel",
    ]
    text = visitor.get(of(recording))
    assert "Used by 1" in text
    assert ">409<" in text
    assert f'<a href="{of(arn)}">channel</a>' in visitor.get(of(key)), "back to the channel of the key"
    for _ in range(30):
        ivs.get_channel(arn=other)
    text = visitor.get(of(other))
    (older,) = re.findall(r'href="([^"]*)">Older calls', text)
    assert (
        re.findall(r'data-head="operation"><code>(\w+)', visitor.get(older.replace("&amp;", "&")))[-1]
        == "CreateChannel"
    )
    ivs.delete_channel(arn=arn)
    text = visitor.get(of(arn), 404)
    assert "it was deleted" in text
    assert "DeleteChannel" in text
    for nonsense in ("", "x", "arn:aws:ivs:a:b:channel/x", "arn:aws:ivs:::nothing/x", "%F0%9F%98%80"):
        visitor.get(f"/resource?arn={nonsense}", 404)
    visitor.get("/resource", 404)


def test_a_form_starts_changes_and_stops_a_stream(ivs: Any, sandbox: Sandbox) -> None:
    visitor = Visitor(sandbox)
    arn = ivs.create_channel(name="stage")["channel"]["arn"]
    assert "Start stream" in visitor.get(of(arn))
    status, headers, _ = visitor.send(of(arn), action="start", viewers="7", health="STARVING")
    assert (status, headers["location"]) == (303, f"{of(arn)}&done=start")
    assert ivs.get_stream(channelArn=arn)["stream"]["viewerCount"] == 7
    text = visitor.get(headers["location"])
    assert '<p class="said good" role="status">Stream started.</p>' in text
    assert "Stop stream" in text
    assert "Start stream" not in text
    assert visitor.send(of(arn), action="change", viewers="-1", health="HEALTHY")[0] == 303
    assert full_stream(ivs, arn) == ("HEALTHY", -1)
    for form, said in (
        ({"action": "start"}, "already live"),
        ({"action": "change", "viewers": "many"}, "viewers must be a number"),
        ({"action": "change", "viewers": "1", "health": "FINE"}, "health must be one of"),
        ({"action": "nonsense"}, "unknown action"),
        ({}, "unknown action"),
    ):
        status, _, text = visitor.send(of(arn), **form)
        assert status == 409
        assert re.search(f'role="alert">[^<]*{said}', checked(text)), said
    assert full_stream(ivs, arn) == ("HEALTHY", -1), "nothing of a wrong form is carried out"
    assert visitor.send(of(arn), action="stop")[0] == 303
    text = visitor.get(of(arn))
    assert "Not live." in text
    assert "Earlier streams" in text
    assert visitor.send(of(arn + "x"), action="start")[0] == 409


def full_stream(ivs: Any, arn: str) -> tuple[str, int]:
    stream = ivs.get_stream(channelArn=arn)["stream"]
    return stream["health"], stream["viewerCount"]


def test_a_form_of_another_page_changes_nothing(ivs: Any, sandbox: Sandbox) -> None:
    visitor = Visitor(sandbox)
    arn = ivs.create_channel(name="stage")["channel"]["arn"]
    port = urlsplit(sandbox.endpoint_url).port
    for origin in (
        None, "null", "https://evil.example", "http://localhost:3000", f"http://localhost:{port}", f"http://127.0.0.1:{port}0", f"ftp://127.0.0.1:{port}",
    ):  # fmt: skip
        status, _, text = visitor.send(of(arn), origin, action="start")
        assert status == 403, origin
        assert "Stream started" not in text
    own = sandbox.endpoint_url
    for kind in ("text/plain", "application/json", "multipart/form-data; boundary=x"):
        assert visitor.ask("POST", of(arn), "action=start", Content_Type=kind, Origin=own)[0] == 403
    assert visitor.ask("GET", f"{of(arn)}&action=start")[0] == 200
    assert sandbox.control.live() == []
    assert visitor.send(of(arn), own.upper().replace("HTTP", "http"), action="start")[0] == 303


def test_with_a_token_pages_need_signing_in() -> None:
    with Sandbox(control_token="own-token") as sandbox:
        visitor = Visitor(sandbox)
        ivs = boto3.client("ivs", endpoint_url=sandbox.endpoint_url, region_name=REGION, aws_access_key_id=ACCOUNT, aws_secret_access_key="any")  # fmt: skip
        arn = ivs.create_channel(name="hidden")["channel"]["arn"]
        for path in ("/", "/?refresh", "/resources", "/resources?text=hidden", of(arn), "/sign-in"):
            text = visitor.get(path, 401)
            assert "Control token" in text
            assert "us-west-2" not in text.replace(quote(arn, safe=""), "")
        assert visitor.send(of(arn), action="start")[0] == 403
        for cookie in ("", "x", "=", "ivs-sandbox-=", 'ivs-sandbox="', "\xe9"):
            visitor.headers = {"Cookie": cookie}
            assert visitor.ask("GET", "/")[0] == 401
        visitor.headers = {}
        for wrong in ("", "own", "own-token2", "\xe9"):
            status, headers, text = visitor.send("/sign-in", token=wrong, back="/")
            assert status == 403
            assert "set-cookie" not in headers
            assert 'role="alert">The token is wrong.' in checked(text)
        assert visitor.send("/sign-in", "https://evil.example", token="own-token")[0] == 403
        for back, to in (
            (of(arn), of(arn)),
            ("//evil.example", "/"),
            ("https://evil.example/", "/"),
            ("/x", "/"),
            ("/\r\nA: b", "/"),
        ):
            status, headers, _ = visitor.send("/sign-in", token="own-token", back=back)
            assert (status, headers["location"]) == (303, to), back
        cookie = headers["set-cookie"]
        assert cookie.endswith("; Path=/; HttpOnly; SameSite=Strict")
        assert "own-token" not in cookie
        visitor.headers = {"Cookie": f"other=1; {cookie.partition(';')[0]}"}
        assert "hidden" in visitor.get("/resources")
        assert visitor.send(of(arn), action="start")[0] == 303
        assert len(sandbox.control.live()) == 1
        assert visitor.ask("GET", "/_sandbox/calls")[0] == 401, "the cookie is for pages only"
        assert visitor.send(of(arn), "http://localhost:3000", action="stop")[0] == 403


@pytest.fixture(scope="module")
def tab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tab]:
    with a_browser(tmp_path_factory.mktemp("browser")) as tab:
        yield tab


@needs_browser
def test_one_finds_a_channel_and_streams_on_it_with_the_keyboard(tab: Tab, full: Sandbox) -> None:
    tab.show(1280)
    before = len(full.control.calls())
    tab.open(f"{full.endpoint_url}/")
    tab.tab_to("at.getAttribute('aria-label') === 'Search name, ARN or tags'")
    tab.type("stage-0000")
    tab.follow()
    tab.tab_to("at.textContent === 'stage-0000'")
    tab.follow()
    tab.tab_to("at.name === 'viewers'")
    tab.js("document.activeElement.select()")
    tab.type("12")
    tab.tab_to("at.textContent === 'Start stream'")
    tab.follow()
    assert tab.js("document.querySelector('[role=status]').textContent") == "Stream started."
    assert [stream["viewers"] for stream in full.control.live()] == [12]
    tab.tab_to("at.textContent === 'Stop stream'")
    tab.follow()
    assert full.control.live() == []
    tab.tab_to("at.tagName === 'SUMMARY'")
    assert tab.js("document.activeElement.getAttribute('aria-label')").startswith("Request of ")
    assert tab.errors == []
    assert len(full.control.calls()) == before, "the pages make no calls of the service"


@needs_browser
@pytest.mark.parametrize("width", [375, 1280])
@pytest.mark.parametrize("dark", [False, True])
def test_every_page_fits_and_names_what_can_be_operated(tab: Tab, full: Sandbox, width: int, dark: bool) -> None:
    (row,) = full.control.inventory(text="stage-0001")
    full.control.go_live(row["arn"], viewers=3)
    tab.show(width, dark=dark)
    try:
        for path in (
            "/",
            "/resources",
            "/resources?text=nothing",
            of(row["arn"]),
            of(full.control.resource(row["arn"])["children"][0]),
        ):
            tab.open(full.endpoint_url + path)
            assert tab.js("document.documentElement.scrollWidth") <= width, path
            assert tab.js(UNNAMED) == [], path
            assert tab.js(FAINT) == [], path
            colour = tab.js("getComputedStyle(document.body).backgroundColor")
            assert colour == ("rgb(17, 20, 26)" if dark else "rgb(246, 247, 249)")
            assert tab.errors == [], path
    finally:
        full.control.go_offline(row["arn"])
