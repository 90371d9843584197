from __future__ import annotations

import re
import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings

from reconciler.diff import FieldChange
from reconciler.model.address import Address, KindName
from reconciler.model.values import Ref
from reconciler.plan.plan import ApplyResult, Plan, Verb
from reconciler.report import html

from .golden import matches_golden
from .makers import (
    a_big_target,
    a_plan,
    a_result,
    a_target,
    added,
    an_action,
    plans,
    results,
    the_small_result,
    the_small_target,
)

QUICK = settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large]
)
VOID = {"meta", "input"}
TAGS = {
    "html", "head", "meta", "title", "style", "body", "main", "header", "section", "script", "h1", "h2", "h3", "small", "p", "b", "i", "code", "mark",
    "span", "a", "div", "ul", "ol", "li", "dl", "dt", "dd", "table", "thead", "tbody", "tr", "th", "td", "details", "summary", "button", "input",
    "svg", "g", "path", "rect", "text",
}  # fmt: skip
ATTRIBUTES = {
    "lang", "charset", "http-equiv", "content", "name", "class", "id", "href", "hidden", "open", "title", "style", "type", "placeholder", "role", "tabindex",
    "scope", "colspan", "data-verb", "data-kind", "data-of", "data-is", "viewbox", "width", "height", "x", "y", "rx", "d", "transform", "text-anchor",
}  # fmt: skip


class Page(HTMLParser):
    """Reads a page strictly: our tags, our attributes, everything closed, every link inside the page."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.ids: list[str] = []
        self.links: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert tag in TAGS, tag
        known = dict(attrs)
        for name, value in known.items():
            assert name in ATTRIBUTES or name.startswith("aria-"), name
            assert name != "class" or re.fullmatch(r"[a-z- ]+", value or "")
            assert name != "style" or re.fullmatch(r"flex-grow:\d+", value or "")
        self.ids += [known["id"] or ""] if "id" in known else []
        self.links += [known["href"] or ""] if "href" in known else []
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        self.handle_endtag(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] == "script":
            assert data == html.SCRIPT
        if self.open and self.open[-1] == "style":
            assert data == html.STYLE

    def handle_comment(self, data: str) -> None:
        raise AssertionError(f"a comment got through: {data}")


def is_whole(text: str) -> bool:
    text.encode()
    reader = Page()
    reader.feed(text)
    reader.close()
    assert reader.open == []
    assert len(reader.ids) == len(set(reader.ids)), "an id is there twice"
    assert all(link.startswith("#") and link[1:] in reader.ids for link in reader.links), (
        "a link leads nowhere, or out of the page"
    )
    return True


def body(text: str) -> str:
    """The part between head and script, with a line for each element, so that a change can be read."""
    return re.sub(
        r"(</(?:li|tr|p|summary|div|dl|ul|g|a|details)>)",
        r"\1\n",
        text.split("<body>")[1].split("<script>", maxsplit=1)[0],
    )


def test_a_small_plan_looks_as_it_did() -> None:
    text = html.render_plan(
        a_plan(the_small_target(), a_target(name="dev")), extra={"Fingerprint": "sha256:" + "7" * 32}
    )
    assert is_whole(text)
    assert matches_golden("plan.html", body(text))


def test_a_result_looks_as_it_did() -> None:
    text = html.render_result(the_small_result())
    assert is_whole(text)
    assert matches_golden("result.html", body(text))


@given(plans)
@QUICK
def test_no_text_in_a_plan_breaks_out_of_its_place(plan: Plan) -> None:
    assert is_whole(html.render_plan(plan))


def test_an_id_is_sanitized_in_every_view() -> None:
    text = html.render_plan(a_plan(a_target(an_action(Verb.DELETE, "channel/left\u202e\ud800"))))
    assert is_whole(text)
    assert "\u202e" not in text
    assert text.count("\\u202e") == text.count("\\ud800") >= 4  # in the list, the graph, its title and the card


@given(results)
@QUICK
def test_no_text_in_a_result_breaks_out_of_its_place(result: ApplyResult) -> None:
    assert is_whole(html.render_result(result))


def test_the_page_loads_nothing_else() -> None:
    text = html.render_plan(a_plan(the_small_target()))
    assert "default-src &#39;none&#39;" in text
    assert "@import" not in text
    assert "url(" not in text
    assert "src=" not in text
    assert "<link" not in text


def test_the_policy_names_the_script_by_its_digest() -> None:
    assert (
        html.content_policy("alert(1)")
        .split("script-src ")[1]
        .startswith("'sha256-bhHHL3z2vDgxUt0W3dWQOrprscmda2Y5pLsLg4GF+pI='")
    )


def test_an_empty_plan_says_no_changes() -> None:
    text = html.render_plan(a_plan(a_target()))
    assert "<b>No changes</b>prod is in sync (41 resources, 3 unmanaged)<" in text
    assert 'id="tools"' not in text


def test_all_targets_come_first_then_each_whole() -> None:
    create = an_action(Verb.CREATE, "channel/new")
    delete = an_action(Verb.DELETE, "channel/old")
    text = html.render_plan(
        a_plan(a_target(create, name="a"), a_target(name="b"), a_target(create, delete, name="c"), a_target(name="d"))
    )
    assert is_whole(text)
    places = [text.index(part) for part in ('id="targets"', 'id="tools"', *(f'<section id="t{at}"' for at in range(4)))]
    assert places == sorted(places)
    overview = text[places[0] : places[1]]
    assert ">4 targets: 2 in sync, 2 with changes</h2>" in overview
    assert re.findall(r'<a href="#(t\d)">(.)</a>', overview) == [("t0", "a"), ("t1", "b"), ("t2", "c"), ("t3", "d")]
    assert re.findall(r'class="tag v-([a-z-]+)">([^<]+)<', overview) == [
        ("create", "1 to create"),
        ("in-sync", "in sync"),
        ("create", "1 to create"),
        ("delete", "1 to delete"),
        ("in-sync", "in sync"),
    ]
    assert re.findall(r"<b>(\d)</b>([a-z ]+)<", overview) == [("2", "to create"), ("1", "to delete")]
    sections = [text[start:end] for start, end in zip(places[2:], [*places[3:], len(text)], strict=True)]
    assert [section.count('<details class="act ') for section in sections] == [1, 0, 2, 0]
    assert all('href="#targets"' in section for section in sections)
    alone = html.render_plan(a_plan(a_target(create)))
    assert 'id="targets"' not in alone
    assert alone.index("<section") < alone.index('id="tools"') < alone.index('<details class="act ')


def test_a_graph_is_there_only_with_dependencies() -> None:
    create = an_action(Verb.CREATE, "channel/new")
    on_it = an_action(
        Verb.CREATE, "stream-key/new", added("/channelArn", Ref(Address(KindName.CHANNEL, "new"))), arn="x"
    )
    text = html.render_plan(a_plan(a_target(create, name="a"), a_target(create, on_it, name="b")))
    assert text.count("<svg") == 1
    assert 'aria-label="Dependency graph of b"' in text


def test_a_finished_apply_says_complete_and_an_interrupted_one_says_so() -> None:
    assert "Apply complete" in html.render_result(a_result())
    assert "Apply interrupted" in html.render_result(a_result(interrupted=True))


def test_what_differs_between_two_long_texts_is_marked() -> None:
    text = html.render_plan(
        a_plan(
            a_target(
                an_action(Verb.UPDATE, "channel/x", FieldChange("/name", "keynote-2025-live", "keynote-2026-live"))
            )
        )
    )
    assert "keynote-202<mark>5</mark>-live" in text
    assert "keynote-202<mark>6</mark>-live" in text


def test_two_short_or_unlike_texts_are_shown_without_marks() -> None:
    text = html.render_plan(
        a_plan(a_target(an_action(Verb.UPDATE, "channel/x", FieldChange("/latencyMode", "LOW", "NORMAL"))))
    )
    assert "<mark>" not in text


def test_a_long_set_names_its_changes_and_counts_most_of_the_rest() -> None:
    before = tuple(f"https://{number:02}.example.com" for number in range(30))
    change = FieldChange("/allowedOrigins", before, (*before[1:], "https://new.example.com"))
    text = html.render_plan(a_plan(a_target(an_action(Verb.UPDATE, "playback-restriction-policy/x", change))))
    assert 'class="gain">+ &#34;https://new.example.com&#34;<' in text
    assert 'class="loss">− &#34;https://00.example.com&#34;<' in text
    assert "and 17 more unchanged" in text


def test_five_thousand_actions_give_a_page_under_a_kilobyte_each() -> None:
    text = html.render_plan(a_plan(a_big_target(5_000)))
    assert len(text) < 5_000 * 1_024
    assert text.count('<details class="act ') == 5_000


BROWSER = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable"))), None
)
QUIET = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


def in_a_browser(folder: Path, text: str, anchor: str = "") -> str:
    """Return the page as it is after its scripts ran."""
    assert BROWSER
    path = folder / "page.html"
    path.write_text(text, encoding="utf-8")
    arguments = [
        BROWSER,
        *QUIET,
        f"--user-data-dir={folder / 'profile'}",
        "--virtual-time-budget=2000",
        "--dump-dom",
        f"{path.as_uri()}{anchor}",
    ]
    return subprocess.run(arguments, capture_output=True, text=True, check=True, timeout=60).stdout


@pytest.mark.skipif(
    BROWSER is None, reason="no Chromium or Chrome is installed, so the pages are not opened in a browser"
)
def test_the_script_runs_under_its_own_policy_and_a_link_opens_what_it_leads_to(tmp_path: Path) -> None:
    shown = in_a_browser(tmp_path, html.render_plan(a_plan(a_big_target(40))), "#t0-3")
    assert '<div class="tools" id="tools">' in shown
    assert "40 shown" in shown
    assert re.findall(r'<details class="act [^>]*id="([^"]*)"[^>]* open=""', shown) == ["t0-3"]


@pytest.mark.skipif(
    BROWSER is None, reason="no Chromium or Chrome is installed, so the pages are not opened in a browser"
)
def test_filter_and_search_leave_what_fits_both(tmp_path: Path) -> None:
    click = "<script>document.querySelector('[data-is=delete]').click();const box=document.getElementById('find');box.value='STAGE-0001';box.dispatchEvent(new Event('input'))</script></body>"
    text = re.sub(r'<meta http-equiv="Content-Security-Policy"[^>]*>', "", html.render_plan(a_plan(a_big_target(40))))
    shown = in_a_browser(tmp_path, text.replace("</body>", click))
    assert "2 of 40 shown" in shown
    assert len(re.findall(r'<details class="act [^>]*hidden=""', shown)) == 38


def test_a_page_of_very_many_creates_lists_what_needs_review_and_counts_the_rest() -> None:
    target = a_big_target(5_100)
    delete = an_action(Verb.DELETE, "channel/zz-left")
    text = html.render_plan(a_plan(target._replace(actions=(*target.actions, delete)), a_target(delete, name="b")))
    assert text.count('<details class="act') == 5_000
    deletes = sum(action.verb is Verb.DELETE and not action.blocked for action in target.actions) + 2
    assert text.count('data-verb="delete"') == deletes
    left_out = len(target.actions) + 2 - 5_000
    assert f"Not listed on this page: {left_out} more actions ({left_out} to create)" in text
    links = set(re.findall('href="#([^"]+)"', text))
    assert links <= set(re.findall('id="([^"]+)"', text))
