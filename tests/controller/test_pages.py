from __future__ import annotations

import re
import shutil
import subprocess
import zlib
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
from reconciler.controller.state import Mode, RepositoryState, Run, RunStatus, TargetState
from reconciler.controller.store import Store
from reconciler.diff import FieldChange
from reconciler.drift.report import DriftStatus, Finding
from reconciler.git.git import Trouble
from reconciler.git.source import Commit
from reconciler.model.address import Address, KindName
from reconciler.plan.plan import LiveChannel
from tests.controller.process import running, until
from tests.controller.repos import Repo
from tests.report.makers import a_plan, results, the_small_target
from tests.report.test_html import BROWSER, QUIET

NOW = 1_767_225_600.0
VOID = {"meta", "br", "path", "hr"}
NASTY = "</p><script>alert(1)</script> <img src=x onerror=y> \" ' & \u202e\x00\x1b[31m @everyone"
REPOSITORY = RepositoryState(
    "https://git.example.com/acme/live.git",
    "main",
    Commit("a1b2c3d4e5f6" * 3, "Move the main stage", "Ada", "", verified=True),
    NOW - 20,
    NOW - 20,
)


class Reader(HTMLParser):
    """Reads a page strictly: everything closed, nothing that runs or loads, every link within the controller."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.text: list[str] = []
        self.links: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert tag not in {"script", "img", "iframe", "link", "object", "form", "input", "base"}, tag
        for name, value in attrs:
            assert not name.startswith("on")
            assert name not in {"src", "srcset", "action", "background", "data"}
            if name == "href":
                self.links.append(value or "")
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


def read(page: str | None) -> Reader:
    assert page is not None
    page.encode()
    reader = Reader()
    reader.feed(page)
    reader.close()
    assert reader.open == []
    assert all(link == "/" or link.startswith("/targets/") for link in reader.links)
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
        "arn:aws:ivs:x",
        (FieldChange("/latencyMode", "NORMAL", "LOW"),),
    )


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
        plan = a_plan(replace(the_small_target(), name=name))
        known = a_run(name, NOW - 700, RunStatus.DRIFTED if drift else RunStatus.IN_SYNC, drift=drift, findings=tuple(a_finding(f"stage-{each}") for each in range(drift)),
                      live_channels=live_channels if number % 4 == 1 else (), plan=plan, plan_id=f"sha256:{number:064}", blocked_by_live=1 if status is RunStatus.BLOCKED else 0)  # fmt: skip
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
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "controller.db")


@pytest.mark.parametrize("count", [0, 3, 60])
def test_every_page_is_complete_and_its_links_work(store: Store, count: int) -> None:
    snapshot = a_world(store, count)
    found = read(pages.overview(snapshot, store))
    assert len(found.links) == count
    for name in list(snapshot.states)[:4]:
        page = read(pages.target(snapshot, store, name))
        for link in page.links:
            match link.strip("/").split("/"):
                case ["targets", target, "plans", plan_id]:
                    assert "channel/" in (pages.plan(snapshot, store, target, plan_id.replace("%3A", ":")) or "")
                case ["targets", target, "runs", number]:
                    read(pages.run(snapshot, store, target, int(number)))
                case rest:
                    assert rest in ([""], ["targets", name])


def test_targets_with_problems_come_first(store: Store) -> None:
    page = pages.overview(a_world(store, 20), store)
    order = re.findall(r'<a class="card v-([a-z-]+)"', page)
    assert order[0] == "failed"
    assert order[-1] == "in-sync"
    assert order.index("drift") < order.index("pending") < order.index("in-sync")


def test_the_overview_of_sixty_targets_stays_small(store: Store) -> None:
    assert len(pages.overview(a_world(store, 60), store)) < 150_000


def test_a_page_says_what_is_known_and_what_is_not(store: Store) -> None:
    snapshot = a_world(store, 10)
    name = next(
        name
        for name, state in snapshot.states.items()
        if state.last_run and state.last_run.status is RunStatus.BAD_SPEC
    )
    html = pages.target(snapshot, store, name)
    assert '<path class="v-drift" d="M' in (html or "")
    page = " ".join(read(html).text)
    assert "ULTRA" in page
    assert "40 managed" in page
    assert "Consecutive failures" in page
    assert pages.target(snapshot, store, "nowhere") is None
    assert pages.run(snapshot, store, name, 10**9) is None
    assert pages.plan(snapshot, store, name, "sha256:none") is None


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
        read(pages.overview(snapshot, store))
        read(pages.target(snapshot, store, "dev"))
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
    assert drawn.areas == {"drift": "M300.0 100V4.0H450.0V100Z"}


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
        assert 'class="card v-pending" href="/targets/dev"' in overview
        assert "<script" not in overview
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
    for page in (pages.overview(snapshot, store), pages.target(snapshot, store, list(snapshot.states)[1]) or ""):
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
