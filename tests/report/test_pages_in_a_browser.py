from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from reconciler.plan.plan import Verb
from reconciler.report import html
from tests.browser import FAINT, UNNAMED, Tab, a_browser, needs_browser

from .makers import a_big_target, a_plan, a_target, an_action, the_small_result, the_small_target
from .test_drift_views import a_report, the_small_report

pytestmark = needs_browser


@pytest.fixture(scope="module")
def tab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tab]:
    with a_browser(tmp_path_factory.mktemp("browser")) as tab:
        yield tab


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Return the addresses of reports by name."""
    create = an_action(Verb.CREATE, "channel/new")
    big = a_target(*a_big_target(60).actions, name="stage-eu-central-1")
    texts = {
        "several": html.render_plan(
            a_plan(the_small_target(), a_target(name="dev"), big, a_target(create, name="qa-1"))
        ),
        "one": html.render_plan(a_plan(the_small_target())),
        "empty": html.render_plan(a_plan(a_target())),
        "drift": html.render_drift((the_small_report(), a_report(name="dev")), stack="acme-live"),
        "result": html.render_result(the_small_result()),
    }
    folder = tmp_path_factory.mktemp("reports")
    return {name: a_page(folder / f"{name}.html", text) for name, text in texts.items()}


def a_page(path: Path, text: str) -> str:
    path.write_text(text, encoding="utf-8")
    return path.as_uri()


@pytest.mark.parametrize("width", [375, 1280])
@pytest.mark.parametrize("dark", [False, True])
def test_every_report_fits_and_names_what_can_be_operated(
    tab: Tab, pages: dict[str, str], width: int, dark: bool
) -> None:
    tab.show(width, dark=dark)
    for name, url in pages.items():
        tab.open(url)
        assert tab.js("document.documentElement.scrollWidth") <= width, name
        assert tab.js(UNNAMED) == [], name
        assert tab.js(FAINT) == [], name
        colour = tab.js("getComputedStyle(document.body).backgroundColor")
        assert colour == ("rgb(13, 17, 23)" if dark else "rgb(245, 246, 248)")
        assert tab.errors == [], name


def test_one_reads_a_plan_of_several_targets_with_the_keyboard(tab: Tab, pages: dict[str, str]) -> None:
    tab.show(1280)
    tab.open(pages["several"])
    for name in ("prod", "dev", "stage-eu-central-1", "qa-1"):
        tab.tab_to(f"at.textContent === '{name}'")
    tab.press("Enter")
    tab.until("location.hash === '#t3'")
    assert tab.js("document.getElementById('t3').getBoundingClientRect().top < innerHeight")
    tab.tab_to("at.getAttribute('aria-label') === null && at.textContent === 'All targets'")
    tab.press("Enter")
    tab.until("location.hash === '#targets'")
    tab.tab_to("at.id === 'find'")
    tab.type("channel/new")
    tab.until("document.getElementById('shown').textContent === '1 of 71 shown'")
    tab.tab_to("at.dataset.is === 'delete'")
    tab.press(" ")
    tab.until("document.getElementById('shown').textContent === '0 of 71 shown'")
    assert tab.js("document.activeElement.getAttribute('aria-pressed')") == "true"


def test_expected_and_actual_have_the_colours_of_neither_creates_nor_deletes(tab: Tab, pages: dict[str, str]) -> None:
    tab.open(pages["drift"])
    colour = "getComputedStyle(document.querySelector('.diff')).getPropertyValue('--{}')"
    sides = {tab.js(colour.format(side)) for side in ("left", "right")}
    assert len(sides) == 2
    assert not sides & {tab.js(colour.format(name)) for name in ("create", "delete")}
