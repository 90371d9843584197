from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest

from reconciler.controller.app import App
from reconciler.controller.controller import Snapshot
from reconciler.controller.server import serving
from reconciler.controller.store import Store
from reconciler.git.git import Secret
from tests.browser import FAINT, UNNAMED, Tab, a_browser, needs_browser
from tests.controller.test_pages import a_full_target, a_world

pytestmark = needs_browser

TOKEN = "a-long-random-token"


class Frozen:
    """Stands for a controller whose targets do not change by themselves."""

    def __init__(self, snapshot: Snapshot) -> None:
        self._snapshot = snapshot
        self.fetches = 0

    def snapshot(self) -> Snapshot:
        return self._snapshot

    def has_target(self, name: str) -> bool:
        return name in self._snapshot.states

    def request_fetch(self) -> None:
        self.fetches += 1


@pytest.fixture(scope="module")
def tab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tab]:
    with a_browser(tmp_path_factory.mktemp("browser")) as tab:
        yield tab


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Store, Frozen]]:
    """The pages of ten targets in all states, and of one with 5,000 channels."""
    store = Store(tmp_path_factory.mktemp("db") / "controller.db")
    world, full = a_world(store, 10), a_full_target(store, 5_000)
    snapshot = replace(world, states={**world.states, **full.states}, modes={**world.modes, **full.modes})
    controller = Frozen(snapshot)
    app = App(controller, store, token=Secret(value=TOKEN), webhooks={}, metrics=lambda: (b"", "text/plain"))  # type: ignore[arg-type]
    with serving("127.0.0.1:0", app) as url:
        yield url, store, controller
    store.close()


def test_one_finds_filters_and_copies_with_the_keyboard(tab: Tab, site: tuple[str, Store, Frozen]) -> None:
    url, *_ = site
    tab.show(1280)
    tab.open(f"{url}/")
    loads = tab.loads
    tab.tab_to("at.getAttribute('aria-label') === 'Search targets'")
    tab.type("bad spec")
    tab.until("document.getElementById('range').textContent === '1 target'")
    assert tab.js("document.querySelectorAll('.card').length") == 1
    assert tab.js("location.search") == "?q=bad+spec"
    assert tab.loads == loads, "it was found without loading the page"
    tab.open(f"{url}/")
    tab.tab_to("at.textContent === 'prod'")
    tab.follow()
    assert tab.js("document.querySelector('h1').textContent").startswith("Targetprod")
    tab.tab_to("at.textContent === 'All resources'")
    tab.follow()
    tab.tab_to("at.name === 'q'")
    tab.type("stage-4321")
    tab.until("document.getElementById('range').textContent === '1 resource'")
    tab.js("navigator.clipboard.writeText = async text => { window.copied = text }")
    tab.tab_to("at.getAttribute('aria-label') === 'Copy the playback URL of channel/stage-4321'")
    tab.press("Enter")
    tab.until("document.activeElement.textContent === 'Copied'")
    assert tab.js("window.copied").endswith(".aBcD00004321.m3u8")
    tab.tab_to("at.textContent === 'All targets of acme-live'")
    assert tab.errors == []


def test_times_are_relative_or_local_with_the_exact_ones_on_hover(tab: Tab, site: tuple[str, Store, Frozen]) -> None:
    url, store, _ = site
    tab.send("Emulation.setTimezoneOverride", timezoneId="Asia/Kolkata")
    tab.open(f"{url}/")
    text, title = tab.js("(time => [time.textContent, time.title])(document.querySelector('time[data-as=ago]'))")
    assert text.endswith(" ago")
    assert title.endswith("GMT+5:30 (2025-12-31 23:59:40 UTC)")
    assert title.startswith("2026-01-01 05:29:40")
    ((number, _),) = store.runs("prod", 1)
    tab.open(f"{url}/targets/prod/runs/{number}")
    assert tab.js("document.querySelector('time').textContent").startswith("2026-01-01 05:29:30")
    tab.open(f"{url}/targets/stage-00-eu-central-1?span=hour")
    marks = "[...document.querySelectorAll('#drift .scale time')].map(time => time.textContent)"
    assert tab.js(marks) == ["04:30", "04:45", "05:00", "05:15", "05:30"]
    tab.send("Emulation.setTimezoneOverride", timezoneId="")


def test_a_page_refreshes_while_it_is_not_in_use_and_reports_when_it_cannot(
    tab: Tab, site: tuple[str, Store, Frozen]
) -> None:
    url, store, _ = site
    tab.errors.clear()
    pass_time = (
        "(now => { Date.now = () => now() + 61000 })(Date.now); document.dispatchEvent(new Event('visibilitychange'))"
    )
    status = "document.querySelector('h1 .tag').textContent"
    tab.open(f"{url}/targets/prod")
    assert tab.js(status) == "drift"
    store.suspend("prod", suspended=True)
    tab.js(pass_time)
    tab.until(f"{status} === 'suspended'")
    store.suspend("prod", suspended=False)
    for busy in ("document.querySelector('summary').click()", "document.querySelector('a').focus()"):
        tab.open(f"{url}/targets/prod")
        tab.js(busy)
        requests = tab.js("performance.getEntriesByType('resource').length")
        tab.js(pass_time)
        assert tab.js("performance.getEntriesByType('resource').length") == requests
    # While one is still in the search field, the results are refreshed and the field is not.
    tab.open(f"{url}/")
    tab.tab_to("at.name === 'q'")
    tab.type("prod")
    tab.until("location.search === '?q=prod'")
    tab.js("document.getElementById('found').dataset.seen = 'yes'")
    tab.js(pass_time)
    tab.until("!document.getElementById('found').dataset.seen")
    assert tab.js("document.activeElement.value") == "prod"
    # The controller goes away and comes back.
    tab.open(f"{url}/targets/prod")
    tab.js("window.there = window.fetch; window.fetch = () => Promise.reject(new Error())")
    for _ in range(2):
        tab.js(pass_time)
        tab.until("document.querySelectorAll('[role=alert]').length === 1")
    assert "The controller does not answer. This page is as of 20" in tab.js("document.body.innerText")
    assert tab.js(status) == "drift"
    tab.js("window.fetch = window.there")
    tab.js(pass_time)
    tab.until("document.querySelectorAll('[role=alert]').length === 0")
    assert tab.errors == []


@pytest.mark.parametrize("width", [375, 1280])
@pytest.mark.parametrize("dark", [False, True])
def test_every_page_fits_and_runs_under_its_policy(
    tab: Tab, site: tuple[str, Store, Frozen], width: int, dark: bool
) -> None:
    url, store, _ = site
    tab.errors.clear()
    tab.show(width, dark=dark)
    (number, run), *_ = store.runs("stage-00-eu-central-1", 1)
    for path in (
        "/",
        "/?q=nothing",
        "/?status=drift",
        "/sign-in",
        "/targets/prod",
        "/targets/prod/resources?page=3",
        "/targets/prod/resources?status=out+of+sync",
        "/targets/stage-00-eu-central-1",
        f"/targets/stage-00-eu-central-1/runs/{number}",
        f"/targets/stage-00-eu-central-1/plans/{run.plan_id}",
    ):
        tab.open(url + path)
        wide = tab.js("document.documentElement.scrollWidth")
        assert wide <= width, path
        colour = tab.js("getComputedStyle(document.body).backgroundColor")
        assert colour == ("rgb(13, 17, 23)" if dark else "rgb(245, 246, 248)")
        assert tab.js(UNNAMED) == [], path
        assert tab.js(FAINT) == [], path
        assert tab.errors == [], path


def test_a_refused_request_is_answered_with_a_page_that_leads_on(tab: Tab, site: tuple[str, Store, Frozen]) -> None:
    url, *_ = site
    tab.errors.clear()
    tab.show(375)
    for path, text, links in (
        ("/targets/nope", "No such target, or", ["All targets"]),
        ("/targets/prod/plans/nope", "No such target, or", ["All targets", "prod"]),
        ("/nope", "The requested URL was not found", ["All targets"]),
        ("/act", "The method is not allowed", ["All targets"]),
        ("/hooks/<b>", "The requested URL was not found", ["All targets"]),
    ):
        tab.open(url + path)
        assert tab.js("document.querySelector('[role=alert]').textContent").startswith(text), path
        assert tab.js("[...document.querySelectorAll('a')].map(at => at.textContent)") == links, path
        assert tab.js("document.documentElement.scrollWidth") <= 375
        assert (tab.js(UNNAMED), tab.js(FAINT)) == ([], [])
    # A button on a page that was open while the controller restarted.
    tab.open(f"{url}/sign-in?to=/targets/prod")
    tab.type(TOKEN)
    tab.follow()
    tab.js("document.querySelectorAll('[name=csrf]').forEach(at => { at.value = 'of the last session' })")
    tab.tab_to("at.getAttribute('aria-label') === 'Suspend prod'")
    tab.follow()
    assert tab.js("document.querySelector('[role=alert]').textContent").startswith("Not signed in, or the page is out")
    tab.tab_to("at.textContent === 'prod'")
    tab.follow()
    tab.tab_to("at.textContent === 'Sign out'")
    tab.follow()
    assert all("Failed to load resource" in error for error in tab.errors)


def test_one_signs_in_and_acts_with_the_keyboard(tab: Tab, site: tuple[str, Store, Frozen]) -> None:
    url, store, controller = site
    tab.errors.clear()
    tab.show(375)
    tab.open(f"{url}/targets/prod?done=nonsense")
    assert tab.js("document.querySelectorAll('[role=status]').length") == 0
    tab.tab_to("at.textContent === 'Sign in'")
    tab.follow()
    tab.until("document.activeElement.labels?.[0]?.textContent === 'Control token'")
    tab.type("wrong")
    tab.follow()
    assert tab.js("document.querySelector('[role=alert]').textContent") == "The token is wrong."
    assert tab.errors.pop().startswith("Failed to load resource: the server responded with a status of 403")
    tab.until("document.activeElement.id === 'token'")
    tab.type(TOKEN)
    tab.follow()
    assert tab.js("location.pathname") == "/targets/prod"
    assert tab.js("document.cookie") == ""  # scripts cannot read it
    for button, said in (("Suspend", "Suspended."), ("Resume", "Resumed; reconciliation requested.")):
        tab.tab_to(f"at.getAttribute('aria-label') === '{button} prod'")
        tab.follow()
        assert tab.js("document.querySelector('p[role=status]').textContent") == said
        assert store.flags()["prod"][0] == (button == "Suspend")
        assert tab.js("location.search") == ""  # a reload does not say it again
    assert tab.js("document.documentElement.scrollWidth") <= 375
    tab.tab_to("at.getAttribute('aria-label') === 'Reconcile prod'")
    tab.tab_to("at.getAttribute('aria-label') === 'Refresh'")
    fetches = controller.fetches
    tab.follow()
    assert controller.fetches == fetches + 1
    tab.tab_to("at.textContent === 'Sign out'")
    tab.follow()
    assert tab.js("document.body.innerText.includes('Sign in')")
    assert tab.js("document.querySelectorAll('form[method=post]').length") == 0
    assert tab.errors == []
    # The page before is shown as it is now, not as it was left.
    tab.open(f"{url}/targets/prod")
    tab.open(f"{url}/")
    store.suspend("prod", suspended=True)
    tab.js("setTimeout(() => history.back())")
    while tab.js("location.pathname") != "/targets/prod":
        pass
    tab.until("document.querySelector('h1 .tag')?.textContent === 'suspended'")
    store.suspend("prod", suspended=False)


def test_without_scripts_pages_are_searched_filtered_and_paged_by_links_and_forms(
    tab: Tab, site: tuple[str, Store, Frozen]
) -> None:
    url, *_ = site
    tab.send("Emulation.setScriptExecutionDisabled", value=True)
    try:
        tab.show(375)
        tab.open(f"{url}/targets/prod/resources")
        tab.tab_to("at.name === 'q'")
        tab.type("lobby")
        tab.follow()
        assert tab.js("document.querySelectorAll('.found > li').length") == 4
        tab.tab_to("at.textContent === 'Show all'")
        tab.follow()
        tab.tab_to("at.rel === 'next'", 400)
        tab.follow()
        assert "Page 2 of 51" in tab.js("document.body.innerText")
    finally:
        tab.send("Emulation.setScriptExecutionDisabled", value=False)
