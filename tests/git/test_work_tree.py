"""What git tracks and did not check out is an error or deletes nothing: it is not the same as removed from the spec."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from tests.cli.support import Ran, outside, rewrite, run, stack
from tests.controller.git import commit, git, repository

A: dict[str, object] = {"channels": {"a": {}}}
B: dict[str, object] = {"channels": {"b": {}}}


def shared(tmp_path: Path) -> Path:
    """A repository of specs, for use as a submodule."""
    folder = repository(tmp_path / "shared")
    (folder / "b.yaml").write_text(yaml.safe_dump(B), encoding="utf-8")
    commit(folder)
    return folder


@pytest.fixture
def repo(tmp_path: Path) -> Path:
    """Two channels, applied: one in a file of its own directory, one in another."""
    folder = stack(repository(tmp_path / "repo"), A, target={"prune": True}, guardrails={"maxDeletePercent": None})
    (folder / ".gitignore").write_text(".sandbox/\n.ivs-reconciler/\n*.json\n*.applied\n", encoding="utf-8")
    (folder / "specs/more").mkdir()
    rewrite(folder, B, "more/b.yaml")
    commit(folder)
    assert run(folder, "apply", "--auto-approve").code == 0
    return folder


@pytest.fixture
def with_submodule(tmp_path: Path) -> Path:
    """The same with the second channel in a submodule, which is checked out, and applied."""
    folder = stack(repository(tmp_path / "repo"), A, target={"prune": True}, guardrails={"maxDeletePercent": None})
    (folder / ".gitignore").write_text(".sandbox/\n.ivs-reconciler/\n*.json\n*.applied\n", encoding="utf-8")
    git(folder, "-c", "protocol.file.allow=always", "submodule", "add", "-q", str(shared(tmp_path)), "specs/shared")
    commit(folder, tag="first")
    assert run(folder, "apply", "--auto-approve").code == 0
    return folder


def channels(folder: Path) -> list[str]:
    """The channels that the account has."""
    with outside(folder) as (ivs, _):
        return sorted(f"channel/{one['name']}" for one in ivs.list_channels()["channels"])


def sparse(folder: Path) -> None:
    git(folder, "sparse-checkout", "set", "--no-cone", "/*", "!/specs/more/")


def sparse_cone(folder: Path) -> None:
    git(folder, "sparse-checkout", "set", "--cone", "--sparse-index", "specs")
    git(folder, "sparse-checkout", "set", "--no-cone", "/specs/live.yaml", "/ivs-reconciler.yaml", "/.gitignore")


def skipped(folder: Path) -> None:
    git(folder, "update-index", "--skip-worktree", "specs/more/b.yaml")
    (folder / "specs/more/b.yaml").unlink()


_SKIPPED = "git update-index --no-skip-worktree specs/more/b.yaml"


@pytest.mark.parametrize(
    ("how", "command", "verb"),
    [
        (sparse, "git sparse-checkout disable", ("apply", "--auto-approve")),
        (sparse_cone, "git sparse-checkout disable", ("apply", "--auto-approve")),
        (skipped, _SKIPPED, ("apply", "--auto-approve")),
        (skipped, _SKIPPED, ("plan",)),
        (skipped, _SKIPPED, ("validate",)),
        (skipped, _SKIPPED, ("drift",)),
        (skipped, _SKIPPED, ("diff", "HEAD")),
    ],
)
def test_a_file_that_is_not_checked_out_is_an_error_that_names_the_command(
    repo: Path, how: Callable[[Path], None], command: str, verb: tuple[str, ...]
) -> None:
    how(repo)
    assert git(repo, "status", "--porcelain") == ""
    ran = run(repo, *verb)
    assert ran.code == 1
    assert "specs/more/b.yaml: is tracked by git" in ran.err + ran.out
    assert command in ran.err + ran.out
    assert channels(repo) == ["channel/a", "channel/b"]


def test_a_project_below_the_top_and_through_a_link_is_checked_alike(tmp_path: Path) -> None:
    top = repository(tmp_path / "top")
    folder = stack(top / "live", A, specs=["linked/*.yaml", "specs/*.yaml"])
    (folder / "real").mkdir()
    (folder / "real/b.yaml").write_text(yaml.safe_dump(B), encoding="utf-8")
    (folder / "real/c.yaml").write_text("channels: {c: {}}\n", encoding="utf-8")
    (folder / "linked").symlink_to("real")
    commit(top)
    assert run(folder, "validate").code == 0
    git(top, "update-index", "--skip-worktree", "live/real/b.yaml")
    (folder / "real/b.yaml").unlink()
    ran = run(folder, "validate")
    assert ran.code == 1
    assert "linked/b.yaml: is tracked by git" in ran.err + ran.out
    assert run(top, "-C", "live", "validate").code == 1


def test_what_no_pattern_matches_may_be_left_out(repo: Path) -> None:
    (repo / "docs").mkdir()
    (repo / "docs/x.yaml").write_text("x: 1\n", encoding="utf-8")
    (repo / "specs/.hidden.yaml").write_text("x: 1\n", encoding="utf-8")
    (repo / "specs/notes.txt").write_text("x\n", encoding="utf-8")
    commit(repo)
    for name in ("docs/x.yaml", "specs/.hidden.yaml", "specs/notes.txt"):
        git(repo, "update-index", "--skip-worktree", name)
        (repo / name).unlink()
    assert run(repo, "plan").code == 0


def test_a_file_that_was_deleted_and_is_still_tracked_deletes_nothing(repo: Path) -> None:
    (repo / "specs/more/b.yaml").unlink()
    ran = run(repo, "apply", "--auto-approve")
    assert ran.code == 3
    assert "git restore specs/more/b.yaml" in ran.out
    assert channels(repo) == ["channel/a", "channel/b"]
    (action,) = run(repo, "plan", "--format", "json").json["targets"][0]["actions"]
    assert action["blocked"]["code"] == "incomplete-spec"
    git(repo, "rm", "-q", "--cached", "specs/more/b.yaml")
    assert run(repo, "apply", "--auto-approve").code == 0
    assert channels(repo) == ["channel/a"]


def test_without_an_answer_of_git_nothing_is_deleted(repo: Path, tmp_path: Path) -> None:
    git(repo, "rm", "-q", "specs/more/b.yaml")
    ran = run(repo, "apply", "--auto-approve", env={"PATH": str(tmp_path)})
    assert ran.code == 3
    assert "git is not installed, or not on PATH" in ran.out
    assert channels(repo) == ["channel/a", "channel/b"]


def unfetched(folder: Path) -> None:
    git(folder, "submodule", "deinit", "-q", "-f", "specs/shared")


def inner_skipped(folder: Path) -> None:
    git(folder / "specs/shared", "update-index", "--skip-worktree", "b.yaml")
    (folder / "specs/shared/b.yaml").unlink()


@pytest.mark.parametrize(
    ("how", "said"),
    [
        (unfetched, "specs/shared: is a submodule that is not checked out"),
        (inner_skipped, "specs/shared/b.yaml: is tracked by git"),
    ],
)
def test_an_unfetched_submodule_is_an_error_that_names_the_command(
    with_submodule: Path, how: Callable[[Path], None], said: str
) -> None:
    def applied(*words: str) -> Ran:
        return run(with_submodule, "apply", *words, "--auto-approve")

    assert run(with_submodule, "plan", "--out", "p.json").code == 0
    how(with_submodule)
    for ran in (applied(), applied("p.json", "--require-commit")):
        assert ran.code == 1
        assert said in ran.err
    assert channels(with_submodule) == ["channel/a", "channel/b"]


def test_revisions_read_a_submodule_from_its_checkout(with_submodule: Path, tmp_path: Path) -> None:
    inner = with_submodule / "specs/shared"
    (inner / "c.yaml").write_text("channels: {c: {}}\n", encoding="utf-8")
    commit(inner)
    git(inner, "push", "-q", "origin", "HEAD:refs/heads/next")
    commit(with_submodule, tag="second")
    shown = run(with_submodule, "diff", "first..second", "--format", "json").json
    assert [action["address"] for action in shown["targets"][0]["actions"]] == ["channel/c"]
    clone = tmp_path / "clone"
    git(tmp_path, "clone", "-q", str(with_submodule), str(clone))
    ran = run(clone, "diff", "first..second")
    assert ran.code == 1
    assert "git submodule update --init specs/shared" in ran.err + ran.out
    git(clone, "-c", "protocol.file.allow=always", "submodule", "update", "-q", "--init")
    assert run(clone, "diff", "first..second", "--format", "json").json["targets"] == shown["targets"]
