"""Plans that require their commit and base, with real repositories and all kinds of merges."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from tests.cli.support import Ran, rewrite, run, stack
from tests.controller.git import commit, git, repository

ONE: dict[str, object] = {"channels": {"one": {}}}
TWO: dict[str, object] = {"channels": {"one": {}, "two": {}}}


@pytest.fixture
def repo(tmp_path: Path) -> Path:
    """A branch ``side`` with one commit on top of ``main``, checked out, and its plan in ``p.json``."""
    folder = stack(repository(tmp_path / "repo"), ONE)
    (folder / ".gitignore").write_text(".sandbox/\n.ivs-reconciler/\n*.json\n*.applied\n", encoding="utf-8")
    commit(folder)
    git(folder, "checkout", "-q", "-b", "side")
    rewrite(folder, TWO)
    commit(folder)
    return folder


def plan(folder: Path, *words: str) -> None:
    made = run(folder, "plan", "--out", "p.json", *words)
    assert made.code == 0, made.err


def apply(folder: Path, *words: str) -> Ran:
    return run(folder, "apply", "p.json", "--auto-approve", "--require-commit", *words)


def test_the_same_commit_is_applied(repo: Path) -> None:
    plan(repo, "--base", "main")
    content = json.loads((repo / "p.json").read_text(encoding="utf-8"))
    assert content["gitCommit"] == git(repo, "rev-parse", "HEAD")
    assert content["gitTree"] == git(repo, "rev-parse", "HEAD^{tree}")
    assert content["base"] == {"name": "main", "commit": git(repo, "rev-parse", "main")}
    assert apply(repo).code == 0


def test_a_newer_commit_is_refused_and_nothing_is_changed(repo: Path) -> None:
    plan(repo, "--base", "main")
    (repo / "notes.txt").write_text("new\n", encoding="utf-8")
    commit(repo)
    ran = apply(repo)
    assert ran.code == 3
    assert "  commit: " in ran.err
    assert "channel/one" in run(repo, "plan").out
    assert run(repo, "apply", "p.json", "--auto-approve").code == 0


def test_a_base_that_moved_is_refused(repo: Path) -> None:
    plan(repo, "--base", "main")
    git(repo, "checkout", "-q", "main")
    (repo / "notes.txt").write_text("new\n", encoding="utf-8")
    moved = commit(repo)
    git(repo, "checkout", "-q", "side")
    ran = apply(repo)
    assert ran.code == 3
    assert f"  base: main is at {moved}, the plan was created for " in ran.err


@pytest.mark.parametrize("how", ["merge", "squash", "rebase", "fast-forward"])
def test_after_a_merge_with_nothing_in_between_the_plan_still_fits(repo: Path, how: str) -> None:
    plan(repo, "--base", "main")
    git(repo, "checkout", "-q", "main")
    match how:
        case "merge":
            git(repo, "merge", "-q", "--no-ff", "-m", "merged", "side")
        case "squash":
            git(repo, "merge", "-q", "--squash", "side")
            git(repo, "commit", "-q", "-m", "squashed")
        case "rebase":
            git(repo, "cherry-pick", "side", GIT_COMMITTER_DATE="2030-01-01T00:00:00Z")
        case _:
            git(repo, "merge", "-q", "--ff-only", "side")
    assert apply(repo).code == 0


def test_after_a_merge_onto_a_newer_base_it_does_not(repo: Path) -> None:
    plan(repo, "--base", "main")
    git(repo, "checkout", "-q", "main")
    (repo / "notes.txt").write_text("new\n", encoding="utf-8")
    commit(repo)
    git(repo, "merge", "-q", "--no-ff", "-m", "merged", "side")
    ran = apply(repo)
    assert ran.code == 3
    assert "  commit: " in ran.err
    assert "  base: main is at " in ran.err


def test_a_plan_of_the_trial_merge_fits_the_real_one(repo: Path) -> None:
    git(repo, "checkout", "-q", "--detach", "main")
    git(repo, "merge", "-q", "--no-ff", "-m", "trial", "side")
    plan(repo, "--base", "main")
    git(repo, "checkout", "-q", "main")
    git(repo, "merge", "-q", "--squash", "side")
    git(repo, "commit", "-q", "-m", "squashed")
    assert apply(repo).code == 0


@pytest.mark.parametrize(
    ("planned", "applied", "code", "message"),
    [
        (("--base", "no-such"), (), 1, "--base no-such: unknown revision"),
        ((), ("--base", "main"), 3, "it records no base to compare with main"),
        (("--base", "main"), ("--base", "gone"), 3, "base: gone is not in this clone"),
    ],
)
def test_a_commit_or_base_that_cannot_be_checked_is_an_error(
    repo: Path, planned: tuple[str, ...], applied: tuple[str, ...], code: int, message: str
) -> None:
    made = run(repo, "plan", "--out", "p.json", *planned)
    ran = made if made.code else apply(repo, *applied)
    assert ran.code == code
    assert message in ran.err


def test_a_plan_from_outside_a_repository_is_refused(tmp_path: Path) -> None:
    folder = stack(tmp_path / "plain", ONE)
    plan(folder)
    ran = apply(folder)
    assert (ran.code, "created outside a git repository" in ran.err) == (3, True)
    assert run(folder, "plan", "--base", "main").code == 1


@pytest.mark.parametrize("words", [("--require-commit",), ("--base", "main")])
def test_flags_that_need_each_other_are_refused_alone(repo: Path, words: tuple[str, ...]) -> None:
    assert run(repo, "apply", "--auto-approve", *words).code == 1


def public_key() -> str:
    key = ec.generate_private_key(ec.SECP384R1()).public_key()
    form = serialization.PublicFormat.SubjectPublicKeyInfo
    return key.public_bytes(serialization.Encoding.PEM, form).decode()


KEYS: dict[str, object] = {**TWO, "playbackKeyPairs": {"web": {"publicKeyMaterial": {"file": "keys/web.pem"}}}}


def edit_spec(folder: Path) -> None:
    rewrite(folder, {**KEYS, "channels": {"one": {}, "two": {"authorized": True}}})


def edit_spec_behind_git(folder: Path) -> None:
    git(folder, "update-index", "--assume-unchanged", "specs/live.yaml")
    edit_spec(folder)


def add_untracked(folder: Path) -> None:
    rewrite(folder, {"channels": {"three": {}}}, "more.yaml")


def stage_removal(folder: Path) -> None:
    git(folder, "rm", "-q", "specs/other.yaml")


def edit_project(folder: Path) -> None:
    path = folder / "ivs-reconciler.yaml"
    path.write_text(path.read_text(encoding="utf-8") + "guardrails: {maxDeletePercent: 100}\n", encoding="utf-8")


def edit_key(folder: Path) -> None:
    (folder / "keys/web.pem").write_text(public_key(), encoding="utf-8")


@pytest.mark.parametrize(
    ("how", "said"),
    [
        (edit_spec, "specs/live.yaml: changed"),
        (edit_spec_behind_git, "specs/live.yaml: changed"),
        (add_untracked, "specs/more.yaml: not in the commit"),
        (stage_removal, "specs/other.yaml: missing"),
        (edit_project, "ivs-reconciler.yaml: changed"),
        (edit_key, "playback-key-pair/web: a file that its spec names changed"),
    ],
)
def test_a_spec_that_differs_from_its_commit_is_refused(repo: Path, how: Callable[[Path], None], said: str) -> None:
    (repo / "keys").mkdir()
    (repo / "keys/web.pem").write_text(public_key(), encoding="utf-8")
    rewrite(repo, KEYS)
    rewrite(repo, {"playbackRestrictionPolicies": {"eu": {"allowedCountries": ["DE"]}}}, "other.yaml")
    commit(repo)
    how(repo)
    plan(repo)
    ran = apply(repo)
    assert ran.code == 3
    assert f"  {said}\n" in ran.err
    assert "channel/one" in run(repo, "plan").out


def test_line_ends_of_a_checkout_and_other_files_do_not_matter(repo: Path) -> None:
    (repo / "notes.txt").write_text("a note\n", encoding="utf-8")
    spec = repo / "specs/live.yaml"
    spec.write_bytes(spec.read_bytes().replace(b"\n", b"\r\n"))
    plan(repo)
    assert apply(repo).code == 0


def test_a_spec_and_a_key_file_in_git_lfs_are_those_of_their_pointers(repo: Path) -> None:
    """The commit holds pointers, the work tree the content, as after ``git lfs pull``; the program git-lfs is not needed."""
    pem, other = (
        ec.generate_private_key(ec.SECP384R1())
        .public_key()
        .public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
        for _ in range(2)
    )
    spec = b"channels: {one: {}, two: {}}\nplaybackKeyPairs: {web: {publicKeyMaterial: {file: web.pem}}}\n"
    real = {"specs/live.yaml": spec, "web.pem": pem}
    for path, content in real.items():
        oid = hashlib.sha256(content).hexdigest()
        pointer = f"version https://git-lfs.github.com/spec/v1\noid sha256:{oid}\nsize {len(content)}\n"
        (repo / path).write_text(pointer, encoding="utf-8")
    commit(repo)
    for path, content in real.items():
        (repo / path).write_bytes(content)
    plan(repo)
    for path, content in real.items():
        (repo / path).write_bytes(other if path == "web.pem" else content.replace(b"two", b"three"))
        ran = apply(repo)
        assert (ran.code, f"{path}: " in ran.err) == (3, True), ran.err
        (repo / path).write_bytes(content)
    assert apply(repo).code == 0
