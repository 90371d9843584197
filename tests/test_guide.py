"""The pages of ``docs/`` are run, command by command, without the extras that they do not name, and show what the commands print."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.cli.test_extras import PACKAGES
from tests.guide import PAGES, commands, masked, page, run_page

NEEDED = {
    "controller": ("curl", "ssh-keygen"),
    "migrate": ("curl",),
    "write-specs": ("openssl",),
    "fleets": ("openssl",),
}
EXTRAS = {"controller": PACKAGES, "fleets": ["distributed"]}
"""The packages of extras that a page needs, and says so."""

FEWEST = {
    "get-started": 10,
    "migrate": 20,
    "write-specs": 7,
    "plan-and-apply": 8,
    "preview": 12,
    "drift": 15,
    "controller": 20,
    "secrets": 4,
    "permissions": 2,
    "outputs": 7,
    "fleets": 25,
}
"""How many commands a page has at least, so that a change of its format cannot hide them from the test."""


def test_every_page_has_a_fewest() -> None:
    assert set(FEWEST) == set(PAGES)


@pytest.mark.parametrize("name", PAGES)
def test_the_commands_of_a_page_print_what_it_shows(name: str, tmp_path: Path) -> None:
    for program in NEEDED.get(name, ()):
        if shutil.which(program) is None:
            pytest.skip(f"{program} is not installed")
    text = page(name)
    expected = commands(text)
    assert len([command for command in expected if not command.file]) >= FEWEST[name]
    hidden = [package for package in PACKAGES if package not in EXTRAS.get(name, ())]
    for command, printed in zip(expected, run_page(text, tmp_path, hidden=hidden), strict=True):
        assert masked(printed) == masked(command.output), f"{command.text}: run make docs"
    for log in tmp_path.rglob("*.log"):
        assert "Traceback" not in log.read_text(encoding="utf-8")


def test_the_controllers_page_without_its_extra_ends_at_once_and_says_what_to_install(tmp_path: Path) -> None:
    printed = "".join(run_page(page("controller"), tmp_path, hidden=PACKAGES))
    assert 'install the extra: pip install "ivs-reconciler[controller]"' in printed
