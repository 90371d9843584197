"""Verbs that only show leave nothing behind, and what others create is not offered to git."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cli.support import outside, rewrite, run, stack
from tests.controller.git import commit, git, repository

SPEC: dict[str, object] = {"channels": {"a": {}}}
LOCK = {"lock": {"file": "locks/dev.lock"}}
SHOWING = [
    ("validate",),
    ("plan",),
    ("plan", "-v"),
    ("plan", "--format", "json"),
    ("plan", "--format", "html"),
    ("outputs",),
    ("outputs", "--partial", "--format", "env"),
    ("status",),
    ("status", "--format", "json"),
    ("drift",),
    ("drift", "--format", "json"),
    ("drift", "--blame"),
    ("comment", "--dry-run"),
    ("iam-policy", "plan"),
    ("iam-policy", "apply"),
    ("unlock",),
    ("unlock", "--force"),
    ("schema",),
    ("apply",),
    ("rotate", "channel/a", "--auto-approve"),
]


def tree(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() if path.is_file() else b"" for path in folder.rglob("*")}


@pytest.mark.parametrize("words", SHOWING, ids=" ".join)
def test_a_verb_that_only_shows_creates_no_file(tmp_path: Path, words: tuple[str, ...]) -> None:
    folder = stack(tmp_path / "repo", SPEC, target=LOCK)
    before = tree(folder)
    ran = run(folder, *words)
    assert ran.code in (0, 1, 3, 5), ran.err
    made = set(tree(folder)) - set(before)
    # apply and rotate hold the lock while they read, so its file is theirs.
    assert made <= ({"locks", "locks/dev.lock"} if words[0] in ("apply", "rotate") else set()), ran.out + ran.err


def test_what_an_apply_creates_is_ignored_by_git(tmp_path: Path) -> None:
    folder = stack(repository(tmp_path / "repo"), SPEC)
    commit(folder)
    assert run(folder, "plan").code == 0
    assert run(folder, "apply", "--auto-approve").code == 0
    assert (folder / ".sandbox" / "dev.db").stat().st_size > 0
    assert git(folder, "status", "--porcelain", "--ignored=no") == ""


@pytest.mark.parametrize("name", [".sandbox", "state", "deep/er"])
def test_a_folder_that_the_sandbox_creates_is_ignored_and_a_present_one_is_left_alone(
    tmp_path: Path, name: str
) -> None:
    folder = stack(tmp_path / "repo", SPEC, target={"sandbox": f"{name}/dev.db"})
    assert run(folder, "apply", "--auto-approve").code == 0
    assert (folder / name / ".gitignore").read_text(encoding="utf-8") == "*\n"
    (folder / name / ".gitignore").write_text("!dev.db\n", encoding="utf-8")
    assert run(folder, "plan").code == 0
    assert (folder / name / ".gitignore").read_text(encoding="utf-8") == "!dev.db\n"
    beside = stack(tmp_path / "other", SPEC, target={"sandbox": "specs/dev.db"})
    assert run(beside, "apply", "--auto-approve").code == 0
    assert not (beside / "specs" / ".gitignore").exists()


def test_a_state_that_another_process_creates_meanwhile_is_read(tmp_path: Path) -> None:
    from reconciler.sandbox import Sandbox

    folder = stack(tmp_path / "repo", SPEC)
    with Sandbox(db=folder / ".sandbox" / "dev.db", create=False) as first:
        assert first.control.inventory() == []
        with outside(folder) as (ivs, _):
            ivs.create_channel(name="other")
        assert [row["name"] for row in first.control.inventory() if row["kind"] == "channel"] == ["other"]
    rewrite(folder, {})
    assert "1 unmanaged" in run(folder, "plan").out


def test_a_state_that_cannot_be_created_is_refused_before_anything_is_planned(tmp_path: Path) -> None:
    folder = stack(tmp_path / "repo", SPEC, target={"sandbox": "here/dev.db"})
    (folder / "here").write_text("a file is in the way", encoding="utf-8")
    ran = run(folder, "plan")
    assert (ran.code, ran.out) == (1, "")
    assert "the directory of the sandbox state" in ran.err
