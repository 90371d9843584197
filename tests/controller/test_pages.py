from __future__ import annotations

import re
import shutil
import subprocess
import time
import zlib
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from reconciler.controller import pages
from reconciler.controller.controller import Snapshot
from reconciler.controller.pages import Point, plot
from reconciler.controller.state import Inventory, ManagedResource, Mode, RepositoryState, Run, RunStatus, TargetState
from reconciler.controller.store import Store
from reconciler.diff import FieldChange
from reconciler.drift import DriftStatus
from reconciler.drift.report import Finding
from reconciler.git.git import Trouble
from reconciler.git.source import Commit
from reconciler.model.address import Address, KindName
from reconciler.model.resource import UnmanagedResource
from reconciler.plan.plan import LiveChannel
from tests.controller.process import running, until
from tests.controller.repos import Repo
from tests.report.makers import a_plan, results, the_small_target
from tests.report.test_html import BROWSER, QUIET

NOW = 1_767_225_600.0
VOID = {"meta", "br", "path", "hr", "input"}
NASTY = "</p><script>alert(1)</script> <img src=x onerror=y> \" ' & \u202e\x00\x1b[31m @everyone"
REPOSITORY = RepositoryState(
    "https://git.example.com/acme/live.git",
    "main",
    Commit("a1b2c3d4e5f6" * 3, "Move the main stage", "Ada", "", verified=True),
    NOW - 20,
    NOW - 20,
)


class Reader(HTMLParser):
    """Reads a page strictly: everything closed, nothing that runs or loads but the one script, links within the controller or to the forge."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.text: list[str] = []
        self.links: list[str] = []
        self.ids: list[str] = []
        self.tags: list[tuple[str, dict[str, str]]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        known = {name: value or "" for name, value in attrs}
        self.tags.append((tag, known))
        assert tag not in {"img", "iframe", "link", "object", "base"}, tag
        if tag == "script":
            assert known == {"src": "/status.js", "defer": ""}
        for name, value in known.items():
            assert not name.startswith("on")
            assert name not in {"srcset", "background", "data", "formaction"}
            assert name != "src" or tag == "script"
            assert name != "action" or value.startswith("/")
        self.links += [known["href"]] if "href" in known else []
        self.ids += [known["id"]] if "id" in known else []
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self.open.pop()

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text.append(data)

    @property
    def words(self) -> str:
        return " ".join(" ".join(self.text).split())

    def all(self, tag: str, **wanted: str) -> list[dict[str, str]]:
        """Return the attributes of elements, by tag and attributes."""
        return [known for name, known in self.tags if name == tag and wanted.items() <= known.items()]


def read(page: str | None) -> Reader:
    assert page is not None
    page.encode()
    reader = Reader()
    reader.feed(page)
    reader.close()
    assert reader.open == []
    assert len(reader.ids) == len(set(reader.ids))
    for link in reader.links:
        assert re.match(r"/$|/\?|/targets/|/sign-in|https://git(hub|lab)\.", link), link
    for tag, known in reader.tags:
        if tag in ("input", "select") and known.get("type") != "hidden":
            assert known.get("aria-label") or reader.all("label", **{"for": known["id"]})
        if tag in ("nav", "svg", "form") or known.get("role") in ("group", "region"):
            assert tag == "form" or known.get("aria-label")
    assert "url(" not in page
    assert "@import" not in page
    return reader


def a_run(
    name: str, at: float, status: RunStatus = RunStatus.IN_SYNC, *, drift: int = 0, pending: int = 0, **more: Any
) -> Run:
    run = Run(
        name,
        Mode.APPLY,
        "c0ffee" * 6,
        at,
        status,
        1.2,
        counts={DriftStatus.DRIFT: drift, DriftStatus.PENDING: pending},
        managed=40,
        unchanged=40 - drift,
        unmanaged=2,
    )
    return replace(run, calls=17, account_id="123456789012", region="us-west-2", **more)


def a_finding(name: str) -> Finding:
    return Finding(
        Address(KindName.CHANNEL, name),
        DriftStatus.DRIFT,
        "modified outside",
        f"arn:aws:ivs:eu-central-1:123456789012:channel/aBcD{name.rpartition('-')[2]:0>8}",
        (FieldChange("/latencyMode", "NORMAL", "LOW"),),
    )


def an_inventory(channels: int, others: int = 3) -> Inventory:
    """Channels with ARNs and playback URLs, a recording configuration, and unmanaged channels of which every second has an owner."""
    arn, host = "arn:aws:ivs:eu-central-1:123456789012:channel", "3d5fa1b2c4e6.eu-central-1.playback.live-video.net"
    url = f"https://{host}/api/video/v1/eu-central-1.123456789012.channel"
    recording = ManagedResource(
        Address(KindName.RECORDING_CONFIGURATION, "archive"),
        "arn:aws:ivs:eu-central-1:123456789012:recording-configuration/rEc0rdiNg123",
        "archive",
        state="ACTIVE",
    )
    managed = tuple(
        ManagedResource(
            Address(KindName.CHANNEL, f"stage-{each:04}"),
            f"{arn}/aBcD{each:08}",
            f"acme-stage-{each:04}",
            f"{url}.aBcD{each:08}.m3u8",
        )
        for each in range(channels)
    )
    unmanaged = tuple(
        UnmanagedResource(KindName.CHANNEL, f"{arn}/oThEr{each:07}", f"lobby-{each}", "acme-lobby" if each % 2 else "")
        for each in range(others)
    )
    return Inventory((*managed, recording), unmanaged)


def a_world(store: Store, count: int) -> Snapshot:
    """Targets in every state there is, with a week of history."""
    statuses = (
        RunStatus.IN_SYNC,
        RunStatus.DRIFTED,
        RunStatus.IN_SYNC,
        RunStatus.PENDING,
        RunStatus.REFUSED,
        RunStatus.FAILED,
        RunStatus.BLOCKED,
        RunStatus.BAD_SPEC,
        RunStatus.INCOMPLETE,
        RunStatus.APPLIED,
    )
    for number in range(count):
        name = f"{'prod' if number % 3 else 'stage'}-{number:02}-eu-central-1"
        for hour in range(0, 168, 6):
            drift = (hour * (number + 3)) % 7 if hour % 30 > 12 else 0
            run = a_run(
                name,
                NOW - (168 - hour) * 3600,
                RunStatus.DRIFTED if drift else RunStatus.IN_SYNC,
                drift=drift,
                pending=hour % 4,
            )
            store.add_run(TargetState(name, last_run=run), run)
        status = statuses[number % len(statuses)]
        drift = 3 if status is RunStatus.DRIFTED else 0
        failed = status in (RunStatus.FAILED, RunStatus.BAD_SPEC)
        live_channels = (
            LiveChannel(
                Address(KindName.CHANNEL, "main-stage"), "arn:aws:ivs:main", "2025-12-31T20:00:00Z", 48_211, "HEALTHY"
            ),
            LiveChannel(
                Address(KindName.CHANNEL, "side-stage"), "arn:aws:ivs:side", "2025-12-31T22:10:00Z", -1, "STARVING"
            ),
        )
        plan = a_plan(the_small_target()._replace(name=name))
        known = a_run(name, NOW - 700, RunStatus.DRIFTED if drift else RunStatus.IN_SYNC, drift=drift, findings=tuple(a_finding(f"stage-{each:04}") for each in range(drift)),
                      inventory=an_inventory(39), live_channels=live_channels if number % 4 == 1 else (), plan=plan, plan_id=f"sha256:{number:064}", blocked_by_live=1 if status is RunStatus.BLOCKED else 0)  # fmt: skip
        store.add_run(TargetState(name, due=NOW + 300, last_success=NOW - 700, commit="c0ffee", last_run=known), known)
        if not drift and status not in (RunStatus.IN_SYNC, RunStatus.APPLIED):
            last = a_run(
                name,
                NOW - 40,
                status,
                message='specs/live.yaml:14:7: channel/main: latencyMode "ULTRA" is not one of LOW, NORMAL'
                if failed
                else "2 of 3 managed channels would be deleted (the limit is 30 %); check the spec",
                account_read=not failed,
            )
            store.add_run(
                TargetState(
                    name,
                    due=NOW + 60,
                    failures=2 if failed else 0,
                    last_success=NOW - 700,
                    commit="c0ffee",
                    last_run=last,
                ),
                last,
            )
    names = tuple(name for name in store.flags())
    if count > 5:
        store.suspend(names[5], suspended=True)
    states = store.states(names)
    return Snapshot(
        "acme-live", REPOSITORY, states, dict.fromkeys(states, Mode.APPLY), frozenset(), NOW, ready=True, now=NOW
    )


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with closing(Store(tmp_path / "controller.db")) as store:
        yield store


@pytest.mark.parametrize("count", [0, 3, 60])
def test_every_page_is_complete_and_its_links_work(store: Store, count: int) -> None:
    snapshot = a_world(store, count)
    found = read(pages.overview(snapshot, store, {}))
    assert len([link for link in found.links if link.startswith("/targets/")]) == count
    for name in list(snapshot.states)[:4]:
        page = read(pages.target(snapshot, store, name, {}))
        for link in page.links:
            match link.strip("/").partition("?")[0].split("/"):
                case ["targets", target, "plans", plan_id]:
                    plan = pages.plan(snapshot, store, target, plan_id.replace("%3A", ":")) or ""
                    assert "channel/" in plan
                    assert f'<a href="/targets/{target}">{target}</a>' in plan
                case ["targets", target, "runs", number]:
                    assert f"/targets/{target}" in read(pages.run(snapshot, store, target, int(number))).links
                case ["targets", target, "resources"]:
                    assert f"/targets/{target}" in read(pages.resources(snapshot, store, target, {})).links
                case rest:
                    assert rest in ([""], ["targets", name])


def test_targets_with_problems_come_first(store: Store) -> None:
    page = pages.overview(a_world(store, 20), store, {})
    order = re.findall(r'<li class="card v-([a-z-]+)"', page)
    assert order[0] == "failed"
    assert order[-1] == "in-sync"
    assert order.index("drift") < order.index("pending") < order.index("in-sync")


def test_the_overview_of_sixty_targets_stays_small(store: Store) -> None:
    assert len(pages.overview(a_world(store, 60), store, {})) < 150_000


def test_a_page_says_what_is_known_and_what_is_not(store: Store) -> None:
    snapshot = a_world(store, 10)
    name = next(
        name
        for name, state in snapshot.states.items()
        if state.last_run and state.last_run.status is RunStatus.BAD_SPEC
    )
    html = pages.target(snapshot, store, name, {})
    assert '<path class="v-drift" d="M' in (html or "")
    page = " ".join(read(html).text)
    assert "ULTRA" in page
    assert "40 managed" in page
    assert "Consecutive failures" in page
    assert pages.target(snapshot, store, "nowhere", {}) is None
    assert pages.run(snapshot, store, name, 10**9) is None
    assert pages.plan(snapshot, store, name, "sha256:none") is None


def rows(page: str | None) -> list[str]:
    """Return the addresses that a page of resources shows."""
    found = re.findall(r'<div class="top"><span class="addr"><i>([^<]*)</i>([^<]*)<', page or "")
    return ["".join(each) for each in found]


def a_full_target(store: Store, channels: int) -> Snapshot:
    """One target with this many channels, of which three are drifted, one is missing and one is live."""
    findings = (
        *(a_finding(f"stage-{each:04}") for each in range(3)),
        Finding(Address(KindName.CHANNEL, "gone"), DriftStatus.MISSING, "deleted outside"),
        a_finding("stage-0004")._replace(status=DriftStatus.PENDING, explanation="the spec changed"),
    )
    inventory = an_inventory(channels, others=4)
    live = LiveChannel(Address(KindName.CHANNEL, "stage-0007"), inventory.managed[7].arn, "2025-12-31T20:00:00Z", 12)
    run = a_run("prod", NOW - 30, RunStatus.DRIFTED, drift=3, findings=findings, live_channels=(live,), inventory=inventory)  # fmt: skip
    state = TargetState("prod", last_run=run)
    store.add_run(state, run)
    return Snapshot("acme-live", REPOSITORY, store.states(["prod"]), {"prod": Mode.PLAN}, frozenset(), NOW, ready=True, now=NOW)  # fmt: skip


def test_every_resource_of_five_thousand_is_found_on_small_quick_pages(store: Store) -> None:
    snapshot = a_full_target(store, 5_000)
    began = time.process_time()
    page = pages.resources(snapshot, store, "prod", {"page": "7"}) or ""
    assert time.process_time() - began < 2  # 0.15 s of a processor
    assert len(page) < 150_000
    assert sum(len(row["body"]) for row in store._rows("SELECT body FROM inventories")) < 300_000
    shown = {"601 to 700 of 5,006 resources", "Page 7 of 51"}
    assert all(words in read(page).words for words in shown)
    seen = [
        each
        for number in range(1, 52)
        for each in rows(pages.resources(snapshot, store, "prod", {"page": str(number)}))
    ]
    assert len(seen) == len(set(seen)) == 5_006
    assert seen[:5] == [
        "channel/stage-0000",
        "channel/stage-0001",
        "channel/stage-0002",
        "channel/gone",
        "channel/stage-0004",
    ]
    assert seen[-4:] == [f"channel/lobby-{each}" for each in range(4)]
    for query, expected in (
        ({"q": "4999"}, ["channel/stage-4999"]),
        ({"q": "ACME stage-1234 playback"}, ["channel/stage-1234"]),
        ({"q": "aBcD00000017"}, ["channel/stage-0017"]),
        ({"kind": "recording-configuration"}, ["recording-configuration/archive"]),
        ({"status": "missing"}, ["channel/gone"]),
        ({"status": "live"}, ["channel/stage-0007"]),
        ({"status": "out of sync", "page": "99"}, seen[:5]),
        ({"status": "unmanaged", "q": "acme-lobby"}, ["channel/lobby-1", "channel/lobby-3"]),
        ({"q": "no such thing"}, []),
        ({"status": "nonsense", "kind": "nonsense", "page": "-1"}, []),
        ({"page": "9" * 30}, seen[:100]),
    ):
        assert rows(pages.resources(snapshot, store, "prod", query)) == expected, query


def test_a_resource_is_shown_with_state_arn_playback_url_and_owner(store: Store) -> None:
    snapshot = a_full_target(store, 9)
    page = read(pages.resources(snapshot, store, "prod", {}))
    copies = [each["aria-label"] for each in page.all("button", type="button")]
    assert "Copy the ARN of channel/stage-0000" in copies
    assert "Copy the playback URL of channel/stage-0000" in copies
    assert "Copy the ARN of channel/gone" not in copies
    assert all("hidden" in each for each in page.all("button", type="button"))  # they need the script
    for words in (
        "aBcD00000003.m3u8",
        "channel/ lobby-1 unmanaged owned by stack acme-lobby",
        "channel/ lobby-0 unmanaged no owner",
        "live 12 viewers",
        "out of sync 5",
        "unmanaged 4",
        "Expected Actual",
    ):
        assert words in page.words, words
    assert len(page.all("form", role="search")) == len(page.all("p", role="status")) == 1
    filtered = read(pages.resources(snapshot, store, "prod", {"status": "unmanaged", "q": "lobby"}))
    assert [each["href"] for each in filtered.all("a", **{"aria-current": "true"})] == [
        "/targets/prod/resources?q=lobby"
    ]
    assert [each["value"] for each in filtered.all("input")] == ["lobby", "unmanaged"]


def test_targets_are_searched_filtered_and_paged(store: Store) -> None:
    snapshot = a_world(store, 70)

    def found(**query: str) -> list[str]:
        page = read(pages.overview(snapshot, store, query))
        return [link.removeprefix("/targets/") for link in page.links if link.startswith("/targets/")]

    assert len(found()) == 60
    assert len(found(page="2")) == 10
    assert found(q="prod-01") == ["prod-01-eu-central-1"]
    assert found(q="PROD -01- 123456789012 us-west") == ["prod-01-eu-central-1"]
    assert found(q="prod-01", status="in sync") == []
    drifted = found(status="drift")
    assert drifted
    assert {each.partition("-")[2][:2] for each in drifted} == {"01", "11", "21", "31", "41", "51", "61"}
    assert "No target matches" in read(pages.overview(snapshot, store, {"q": "nothing"})).words


def test_figures_of_a_target_that_could_not_be_read_are_marked_as_old(store: Store) -> None:
    snapshot = a_world(store, 10)
    overview = read(pages.overview(snapshot, store, {"status": "bad spec"})).words
    assert "Old figures, read 11 min ago" in overview
    assert "old figures of 2 targets" in overview
    (name,) = (name for name, state in snapshot.states.items() if pages.status(state) == "bad spec")
    for page in (pages.target(snapshot, store, name, {}), pages.resources(snapshot, store, name, {})):
        assert "Old figures, read 11 min ago" in read(page).words
    assert "not read" in read(pages.target(snapshot, store, name, {})).words
    fresh = next(name for name, state in snapshot.states.items() if pages.status(state) == "drift")
    assert "Old figures" not in read(pages.target(snapshot, store, fresh, {})).words


@pytest.mark.parametrize(
    ("repository", "url"),
    [
        ("https://github.com/acme/live.git", "https://github.com/acme/live/commit/"),
        ("https://user:word@github.com/acme/live", "https://github.com/acme/live/commit/"),
        ("git@github.com:acme/live.git", "https://github.com/acme/live/commit/"),
        ("ssh://git@github.acme.example:2222/acme/live.git", "https://github.acme.example/acme/live/commit/"),
        ("https://gitlab.com/acme/video/live.git", "https://gitlab.com/acme/video/live/-/commit/"),
        ("git@gitlab.acme.example:acme/live.git", "https://gitlab.acme.example/acme/live/-/commit/"),
        ("https://gitlab.acme.example:8443/acme/live/", "https://gitlab.acme.example:8443/acme/live/-/commit/"),
        ("https://git.example.com/acme/live.git", ""),
        ("https://evil.example/github.com/acme/live", ""),
        ("https://github.com/acme/../live", ""),
        ("https://github.com/acme", ""),
        ('https://github.com/acme/live"onclick=x', ""),
        ("javascript://github.com/acme/live", ""),
        ("/srv/git/github.com/live.git", ""),
        ("file:///srv/git/live.git", ""),
    ],
)
def test_a_commit_links_to_its_page_on_a_known_forge(repository: str, url: str) -> None:
    commit = "c0ffee" * 6 + "c0ff"
    assert pages.commit_url(repository, commit) == (url + commit if url else "")
    assert pages.commit_url(repository, "main") == ""


def test_commits_are_links_on_every_page(store: Store) -> None:
    snapshot = replace(a_world(store, 3), repository=replace(REPOSITORY, url="https://oauth2:word@github.com/a/b.git"))
    name = next(iter(snapshot.states))
    number, run = store.runs(name, 1)[0]
    assert run.plan_id
    for page in (
        pages.overview(snapshot, store, {}),
        pages.target(snapshot, store, name, {}),
        pages.run(snapshot, store, name, number),
        pages.plan(snapshot, store, name, run.plan_id),
    ):
        assert page is not None
        assert '<a href="https://github.com/a/b/commit/' in page
        assert "word" not in page.partition("</style>")[2].partition("<script>")[0]


def test_expected_is_the_first_column_for_drift_and_for_pending_changes_alike(store: Store) -> None:
    page = pages.target(a_full_target(store, 9), store, "prod", {}) or ""
    tables = re.findall(r'<table class="([^"]*)">\s*<thead><tr>(.*?)</tr></thead>\s*<tbody>(.*?)</tbody>', page, re.S)
    shown = [(sort, re.findall("<th[^>]*>([^<]*)", head), re.findall(r'<td class="([a-z]+)">([^<]*)', body)) for sort, head, body in tables if "diff" in sort]  # fmt: skip
    # a_finding: NORMAL is live, LOW is the spec.
    assert shown == [("diff drift", ["Field", "Expected", "Actual"], [("left", "&#34;LOW&#34;"), ("right", "&#34;NORMAL&#34;")])] * 4  # fmt: skip


@given(st.text(max_size=60))
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_no_text_of_others_breaks_out_of_its_place(tmp_path_factory: pytest.TempPathFactory, text: str) -> None:
    store = Store(tmp_path_factory.mktemp("db") / "controller.db")
    for words in (text, NASTY, f"{NASTY}\n{text}"):
        clean = words.encode("utf-8", "replace").decode()
        run = a_run(
            "dev",
            NOW,
            RunStatus.FAILED,
            message=clean,
            findings=(a_finding("x"),),
            live_channels=(LiveChannel(Address(KindName.CHANNEL, clean), clean, clean, 3, clean),),
        )
        store.add_run(TargetState("dev", last_run=run), run)
        repository = replace(
            REPOSITORY,
            url=f"https://user:{NASTY}@h",
            branch=clean,
            commit=Commit("c" * 40, clean, clean),
            trouble=Trouble.UNVERIFIED,
            message=clean,
        )
        states = {"dev": replace(store.states(("dev",))["dev"], last_run=run, last_read=run)}
        snapshot = Snapshot(
            clean, repository, states, {"dev": Mode.PLAN}, frozenset({"dev"}), NOW, ready=False, now=NOW
        )
        read(pages.overview(snapshot, store, {}))
        read(pages.target(snapshot, store, "dev", {}))
        read(pages.run(snapshot, store, "dev", 1))
    store.close()


@given(results)
@settings(
    max_examples=10,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.function_scoped_fixture],
)
def test_a_run_that_applied_shows_every_outcome(tmp_path_factory: pytest.TempPathFactory, result: object) -> None:
    store = Store(tmp_path_factory.mktemp("db") / "controller.db")
    run = a_run("dev", NOW, RunStatus.APPLIED, result=result)
    number = store.add_run(TargetState("dev", last_run=run), run)
    snapshot = Snapshot(
        "acme",
        REPOSITORY,
        {"dev": TargetState("dev", last_run=run)},
        {"dev": Mode.APPLY},
        frozenset(),
        NOW,
        ready=True,
        now=NOW,
    )
    page = pages.run(snapshot, store, "dev", number)
    assert page is not None
    assert page.count('<details class="act ') == len(result.outcomes)  # type: ignore[attr-defined]
    store.close()


@given(
    st.lists(
        st.tuples(st.integers(0, 167), st.integers(0, 5000), st.integers(0, 5000)),
        min_size=1,
        max_size=168,
        unique_by=lambda each: each[0],
    )
)
def test_a_plot_stays_inside_its_box(counts: list[tuple[int, int, int]]) -> None:
    points = [Point(hour * 3600.0, drifted, pending) for hour, drifted, pending in sorted(counts)]
    drawn = plot(points, 0, 168 * 3600.0, label="drift")
    for command, value in re.findall(r"([HV])(-?[0-9.]+)", "".join(drawn.areas.values())):
        assert 0 <= float(value) <= (600 if command == "H" else 100)


def test_a_plot_is_high_where_drift_is() -> None:
    drawn = plot([Point(0, 0, 0), Point(50, 4, 0), Point(75, 0, 0)], 0, 100, label="drift")
    assert (drawn.areas, drawn.unknown) == ({"drift": "M300.0 100V4.0H450.0V100Z"}, "")


def test_a_plot_is_grey_where_nothing_is_known() -> None:
    drawn = plot([Point(25, 0, 0), Point(50, None, None), Point(75, 1, 2)], 0, 100, label="drift")
    assert drawn.unknown == "M0.0 0H150.0V100H0.0Z" + "M300.0 0H450.0V100H300.0Z"
    assert drawn.areas == {"drift": "M450.0 100V50.0H600.0V100Z", "pending": "M450.0 100V4.0H600.0V100Z"}


@pytest.mark.parametrize(
    ("hours", "span"),
    [
        (0.01, "1 min"),
        (0.5, "30 min"),
        (1.1, "hour"),
        (5.9, "hour"),
        (6.1, "day"),
        (41, "day"),
        (43, "7 days"),
        (500, "7 days"),
    ],
)
def test_a_chart_begins_with_a_span_that_the_history_fills(store: Store, hours: float, span: str) -> None:
    for at in (hours, hours / 2):
        run = a_run("dev", NOW - at * 3600, RunStatus.DRIFTED, drift=3)
        store.add_run(TargetState("dev", last_run=run), run)
    snapshot = Snapshot("acme", REPOSITORY, store.states(["dev"]), {"dev": Mode.PLAN}, frozenset(), NOW, ready=True, now=NOW)  # fmt: skip
    for query, shown in (
        ({}, span),
        ({"span": "nonsense"}, span),
        ({"span": "hour"}, span if "min" in span else "hour"),
        ({"span": "day"}, "day"),
        ({"span": "week"}, "7 days"),
        ({"span": "month"}, "30 days"),
    ):
        page = read(pages.target(snapshot, store, "dev", query))
        assert f"Drift in the last {shown}" in page.words
        assert [each["aria-label"] for each in page.all("svg", role="img")] == [
            f"Drift in the last {shown}: at most 3 drifted, now 3; at most 0 pending, now 0"
        ]
        chosen = [each["href"] for each in page.all("a", **{"aria-current": "true"})]
        names = {"7 days": "week", "30 days": "month", "1 min": "hour", "30 min": "hour"}
        assert chosen == [f"/targets/dev?span={names.get(shown, shown)}#drift"]
        assert "Since Drifted Pending" in page.words
    assert f"last {'day' if span == '7 days' else span}" in read(pages.overview(snapshot, store, {})).words


needs_browser = pytest.mark.skipif(
    BROWSER is None, reason="no Chromium or Chrome is installed, so the pages are not opened in a browser"
)


def browse(folder: Path, *words: str) -> str:
    assert BROWSER
    profile = folder / "profile"
    shutil.rmtree(profile, ignore_errors=True)
    return subprocess.run(
        [BROWSER, *QUIET, f"--user-data-dir={profile}", *words], capture_output=True, text=True, check=True, timeout=120
    ).stdout


def first_pixel(path: Path) -> tuple[int, ...]:
    """Return the colour of a PNG's first pixel, which no filter of the format changes."""
    content = path.read_bytes()
    pixels = b"".join(
        content[found.start() + 4 : found.start() + 4 + int.from_bytes(content[found.start() - 4 : found.start()])]
        for found in re.finditer(b"IDAT", content)
    )
    return tuple(zlib.decompressobj().decompress(pixels, 4)[1:4])


@needs_browser
def test_a_browser_shows_the_pages_in_light_and_dark_under_their_policy(tmp_path: Path) -> None:
    repo = Repo(tmp_path / "repo")
    target = {"region": "us-west-2", "sandbox": ".sandbox/dev.db"}
    repo.commit(
        {
            "ivs-reconciler.yaml": {"stack": "acme-live", "targets": {"dev": target}},
            "specs/live.yaml": {"channels": {"main-stage": {}}},
        },
        NASTY.replace("\0", ""),
    )
    with running(
        tmp_path, "--repo", str(repo.folder), "--mode", "plan", "--fetch-interval", "1h", "--interval", "1h"
    ) as controller:
        controller.until_ready()
        until(lambda: len(controller.lines("reconciled")) == 1)
        base = f"http://127.0.0.1:{controller.port}"
        overview = browse(tmp_path, "--dump-dom", f"{base}/")
        assert 'class="card v-pending"' in overview
        page = browse(tmp_path, "--dump-dom", f"{base}/targets/dev")
        (link,) = set(re.findall(r'href="(/targets/dev/plans/[^"]+)"', page))
        plan = browse(tmp_path, "--virtual-time-budget=2000", "--dump-dom", f"{base}{link}")
        assert '<div class="tools" id="tools">' in plan  # its own script ran under the policy of the header
        assert "1 shown" in plan
        for scheme, colour in (("1", (0xF5, 0xF6, 0xF8)), ("0", (0x0D, 0x11, 0x17))):
            picture = tmp_path / f"{scheme}.png"
            browse(
                tmp_path,
                f"--blink-settings=preferredColorScheme={scheme}",
                "--window-size=800,600",
                f"--screenshot={picture}",
                f"{base}/",
            )
            assert first_pixel(picture) == colour


@needs_browser
@pytest.mark.parametrize("width", [320, 390, 1200])
def test_nothing_is_wider_than_the_screen(tmp_path: Path, store: Store, width: int) -> None:
    snapshot = a_world(store, 10)
    found = []
    for page in (
        pages.overview(snapshot, store, {}),
        pages.target(snapshot, store, list(snapshot.states)[1], {}) or "",
    ):
        (tmp_path / "page.html").write_text(re.sub(r'<meta http-equiv="refresh"[^>]*>', "", page), encoding="utf-8")
        frame = f'<iframe id="f" src="page.html" style="width:{width}px;height:800px;border:0"></iframe>'
        script = "<script>onload=()=>{const d=document.getElementById('f').contentDocument.documentElement;document.title=d.scrollWidth+'/'+d.clientWidth}</script>"
        (tmp_path / "frame.html").write_text(f"<!doctype html><title>none</title>{frame}{script}", encoding="utf-8")
        shown = browse(
            tmp_path,
            "--allow-file-access-from-files",
            "--virtual-time-budget=3000",
            "--dump-dom",
            (tmp_path / "frame.html").as_uri(),
        )
        wide, screen = map(int, re.findall(r"<title>(\d+)/(\d+)</title>", shown)[0])
        found.append((wide <= screen, wide, screen))
    assert all(fits for fits, _, _ in found), found
