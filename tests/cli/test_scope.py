"""``--only`` and ``--exclude`` through the command line: a misspelt one ends with 1 in every verb that takes them, before anything is changed."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.cli.support import outside, rewrite, run, stack

TARGETS = {
    "dev": {
        "region": "us-west-2",
        "accountId": "123456789012",
        "sandbox": ".sandbox/dev.db",
        "specs": ["dev/dev.yaml"],
    },
    "test": {"region": "us-west-2", "sandbox": ".sandbox/test.db"},
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = stack(tmp_path / "repo", {"channels": {"main-stage": {}, "side-stage": {}}}, targets=TARGETS)
    (folder / "dev").mkdir()
    (folder / "dev" / "dev.yaml").write_text("channels: {of-dev: {}}\n", encoding="utf-8")
    return folder


@pytest.mark.parametrize(
    "words", [("plan",), ("apply", "--auto-approve"), ("apply", "--auto-approve", "--format", "json")]
)
@pytest.mark.parametrize(
    "option", [("--only", "channel/mian-stage"), ("--exclude", "channel/mian-stage"), ("--only", "channel/x*")]
)
def test_a_misspelt_address_is_an_error(folder: Path, words: tuple[str, ...], option: tuple[str, str]) -> None:
    ran = run(folder, *words, *option)
    assert ran.code == 1
    assert f"{option[0]} {option[1]}: no address in the spec or managed by this stack" in ran.err
    with outside(folder) as (ivs, _):
        assert ivs.list_channels()["channels"] == []


def test_an_address_of_one_target_is_enough(folder: Path) -> None:
    ran = run(folder, "apply", "--auto-approve", "--only", "channel/of-dev")
    assert ran.code == 0
    assert "note: no address matches --only channel/of-dev" in ran.out, "the other target says that it has none"
    assert run(folder, "plan", "-t", "test", "--only", "channel/of-dev").code == 1


def test_an_orphaned_resource_can_be_named(folder: Path) -> None:
    assert run(folder, "apply", "--auto-approve").code == 0
    rewrite(folder, {"channels": {"main-stage": {}}})
    gone = run(
        folder,
        "apply",
        "-t",
        "dev",
        "--auto-approve",
        "--prune",
        "--allow-deletes",
        "1",
        "--only",
        "channel/side-stage",
    )
    assert gone.code == 0
    assert "1 to delete" in gone.out
    assert run(folder, "plan", "-t", "dev", "--only", "channel/side-stage").code == 1, "now nobody has it"


def test_a_comparison_of_revisions_knows_the_addresses_of_both(folder: Path) -> None:
    def git(*words: str) -> None:
        subprocess.run(
            ["git", "-c", "user.name=a", "-c", "user.email=a@example.com", *words],
            cwd=folder,
            check=True,
            capture_output=True,
        )

    git("init", "-q")
    git("add", "specs", "dev", "ivs-reconciler.yaml")
    git("commit", "-qm", "first")
    rewrite(folder, {"channels": {"main-stage": {}, "new": {}}})
    for address in ("channel/side-stage", "channel/new"):
        assert run(folder, "diff", "HEAD", "--only", address).code == 0
    ran = run(folder, "diff", "HEAD", "--only", "channel/mian-stage")
    assert (ran.code, ran.out) == (1, "")
    assert "no address of either revision matches; did you mean channel/main-stage" in ran.err
