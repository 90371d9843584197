"""Two revisions compared: the words of a plan, no account, and nothing of a revision believed or run."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.cli.support import Ran, rewrite, run, stack
from tests.controller.git import commit, git, repository
from tests.schemas import validator

BASE: dict[str, object] = {
    "recordingConfigurations": {"archive": {"destinationConfiguration": {"s3": {"bucketName": "vod"}}}},
    "playbackRestrictionPolicies": {
        "eu": {"allowedCountries": ["DE", "FR"], "allowedOrigins": ["https://example.com"]}
    },
    "channels": {
        "one": {"recordingConfiguration": "archive"},
        "two": {"playbackRestrictionPolicy": "eu", "streamKey": {}},
        "old": {},
    },
}
HEAD: dict[str, object] = {
    "recordingConfigurations": {
        "archive": {"destinationConfiguration": {"s3": {"bucketName": "vod-2"}}},
        "second": {"destinationConfiguration": {"s3": {"bucketName": "more"}}},
    },
    "playbackRestrictionPolicies": {
        "eu": {"allowedCountries": ["DE", "AT"], "allowedOrigins": ["https://example.com"]}
    },
    "channels": {
        "one": {"recordingConfiguration": "archive", "latencyMode": "NORMAL", "streamKey": {}},
        "two": {"streamKey": {}, "recordingConfiguration": "second", "tags": {"event": "keynote"}},
        "new": {},
    },
}


@pytest.fixture
def repo(tmp_path: Path) -> Path:
    folder = stack(repository(tmp_path / "repo"), BASE)
    (folder / ".gitignore").write_text(".sandbox/\n.ivs-reconciler/\n*.json\n", encoding="utf-8")
    commit(folder, tag="base")
    rewrite(folder, HEAD)
    commit(folder, tag="head")
    return folder


def diff(folder: Path, *words: str) -> Ran:
    return run(folder, "diff", *words)


def actions(report: Any, *, names: dict[str, str] | None = None) -> list[dict[str, Any]]:
    """Return what matters of each action, with ARNs as the addresses they stand for."""
    (target,) = report["targets"]
    known = names or {}
    found = []
    for action in target["actions"]:
        shown = {
            key: action[key]
            for key in ("address", "action", "reason", "explanation", "order", "blocked", "warnings", "changes")
        }
        for change in shown["changes"]:
            for side in ("before", "after"):
                value = change[side]
                if isinstance(value, str):
                    value = value.removesuffix(" (recreated)")
                change[side] = (
                    value["$ref"]
                    if isinstance(value, dict) and "$ref" in value
                    else known.get(value, value)
                    if isinstance(value, str)
                    else value
                )
        found.append(shown)
    return found


@pytest.mark.parametrize("prune", [(), ("--prune",)])
def test_a_difference_says_what_the_plan_says_once_the_first_revision_is_applied(
    repo: Path, prune: tuple[str, ...]
) -> None:
    compared = diff(repo, "base..head", "--format", "json", *prune).json
    git(repo, "checkout", "-q", "base")
    assert run(repo, "apply", "--auto-approve").code == 0
    listed = run(repo, "plan", "--format", "json", "--out", "after.json").json
    assert listed["targets"][0]["actions"] == []
    git(repo, "checkout", "-q", "head")
    planned = run(repo, "plan", "--format", "json", *prune).json
    names = {action["arn"]: action["address"] for action in planned["targets"][0]["actions"] if action["arn"]}
    assert actions(compared) == actions(planned, names=names)
    assert {action["action"] for action in actions(compared)} == {"create", "update", "replace", "adopt"} | (
        {"delete"} if prune else set()
    )
    same = ("create", "update", "replace", "delete", "adopt", "unchanged", "orphaned", "blocked")
    assert [compared["targets"][0]["summary"][name] for name in same] == [
        planned["targets"][0]["summary"][name] for name in same
    ]


def test_nothing_of_an_account_is_in_a_difference_and_it_fits_the_schema_of_a_plan(repo: Path) -> None:
    shown = diff(repo, "base..head", "--format", "json", "--prune")
    validator("plan").validate(shown.json)
    assert "arn:" not in shown.out
    assert all(action["steps"] == [] and action["observed"] is None for action in shown.json["targets"][0]["actions"])
    assert (shown.json["gitCommit"], shown.json["base"]["name"], shown.json["base"]["commit"]) == (
        git(repo, "rev-parse", "head"),
        "base",
        git(repo, "rev-parse", "base"),
    )


def test_a_saved_difference_is_shown_like_a_plan_and_never_applied(repo: Path) -> None:
    (repo / "d.json").write_text(diff(repo, "base..head", "--format", "json").out, encoding="utf-8")
    shown = run(repo, "show", "d.json")
    assert shown.code == 0
    assert shown.out == diff(repo, "base..head").out
    refused = run(repo, "apply", "d.json", "--auto-approve")
    assert refused.code == 1
    assert "comparison of two revisions" in refused.err


@pytest.mark.parametrize(
    ("view", "expected"),
    [("text", "; AWS was not queried"), ("markdown", "## Comparison for stack"), ("html", "<small>Comparison</small>")],
)
def test_every_view_says_that_it_is_a_difference(repo: Path, view: str, expected: str) -> None:
    shown = diff(repo, "base..head", "--format", view)
    assert shown.code == 0
    assert expected in shown.out
    assert "recording-configuration/second" in shown.out


def test_no_checkout_changes_and_no_credentials_or_network_are_needed(repo: Path) -> None:
    git(repo, "checkout", "-q", "base")
    (repo / "specs" / "live.yaml").write_text("not: [what was committed\n", encoding="utf-8")
    (repo / "untracked").write_text("mine\n", encoding="utf-8")
    before = git(repo, "status", "--porcelain=v2", "--branch")
    index = (repo / ".git" / "index").stat().st_mtime_ns
    assert diff(repo, "base..head", "--detailed-exitcode").code == 2
    assert (repo / ".git" / "index").stat().st_mtime_ns == index
    assert git(repo, "status", "--porcelain=v2", "--branch") == before
    assert not (repo / ".sandbox").exists()


def test_the_exit_code_shows_differences_only_when_asked(repo: Path) -> None:
    assert diff(repo, "base..head").code == 0
    assert diff(repo, "base..base", "--detailed-exitcode").code == 0


def test_a_comparison_calls_nothing_in_sync_and_blames_no_account(repo: Path) -> None:
    same = diff(repo, "base..base")
    assert same.out.endswith("No changes in dev (6 resources).\n")
    changed = diff(repo, "base..head")
    assert "Comparison for dev: " in changed.out
    for view in ("text", "markdown", "html"):
        for range_ in ("base..base", "base..head"):
            said = diff(repo, range_, "--format", view).out
            assert "in sync" not in said.partition("</head>")[2 if view == "html" else 0], (view, range_)
            assert "from the spec" not in said.partition("</head>")[2 if view == "html" else 0], (view, range_)
    several = yaml.safe_load((repo / "ivs-reconciler.yaml").read_text(encoding="utf-8"))
    several["targets"] = {name: {"region": "us-west-2", "sandbox": f".sandbox/{name}.db"} for name in "abcd"}
    (repo / "ivs-reconciler.yaml").write_text(yaml.safe_dump(several), encoding="utf-8")
    git(repo, "commit", "-qam", "four")
    assert diff(repo, "HEAD..HEAD").out.partition("\n\n")[2].startswith("4 targets: 4 unchanged.\n")
    assert "`(empty)`" not in diff(repo, "HEAD..HEAD", "--format", "markdown").out


def test_a_resource_removed_from_the_spec_is_a_difference_also_if_it_stays(repo: Path) -> None:
    content = yaml.safe_load((repo / "specs" / "live.yaml").read_text(encoding="utf-8"))
    del content["channels"]["new"]
    rewrite(repo, content)
    shown = diff(repo, "head", "--detailed-exitcode")
    assert shown.code == 2
    assert "channel/new" in shown.out
    assert "prune is disabled" in shown.out


def test_one_revision_is_compared_with_the_files_at_hand_and_an_empty_side_is_the_checkout(repo: Path) -> None:
    rewrite(repo, {"channels": {"scratch": {}}}, name="more.yaml")
    assert "channel/scratch will be created" in diff(repo, "head").out
    assert "Comparing the working tree with head (" in diff(repo, "head").out
    assert "channel/scratch" not in diff(repo, "head..").out
    assert (
        diff(repo, "base..", "--format", "json").json["targets"]
        == diff(repo, "base..head", "--format", "json").json["targets"]
    )


def test_three_dots_begin_where_the_two_parted(repo: Path) -> None:
    git(repo, "checkout", "-q", "-b", "side", "base")
    rewrite(repo, {"channels": {"side": {}}}, name="side.yaml")
    commit(repo)
    two, three = diff(repo, "head..side", "--format", "json").json, diff(repo, "head...side", "--format", "json").json
    assert [action["address"] for action in three["targets"][0]["actions"]] == ["channel/side"]
    assert len(two["targets"][0]["actions"]) > 1
    assert three["base"]["commit"] == git(repo, "rev-parse", "base")


def test_without_a_project_file_in_the_first_revision_everything_is_new(repo: Path) -> None:
    git(repo, "checkout", "-q", "--orphan", "empty")
    git(repo, "rm", "-rfq", ".")
    commit(repo, tag="nothing")
    git(repo, "checkout", "-q", "head")
    shown = diff(repo, "nothing..head", "--format", "json").json["targets"][0]
    assert {action["action"] for action in shown["actions"]} == {"create"}
    assert shown["notes"] == ["the base revision has no project file: everything is new"]
    missing = diff(repo, "head..nothing")
    assert missing.code == 1
    assert "nothing:ivs-reconciler.yaml: no such project file" in missing.err


def test_problems_of_both_revisions_are_reported_at_once_with_file_line_and_revision(repo: Path) -> None:
    rewrite(repo, {"channels": {"one": {"latencyMode": "SLOW"}}})
    commit(repo, tag="bad-enum")
    (repo / "specs" / "live.yaml").write_text("channels:\n  one: {typo: 1}\n  two: [\n", encoding="utf-8")
    commit(repo, tag="bad-yaml")
    shown = diff(repo, "bad-enum..bad-yaml")
    assert shown.code == 1
    assert "bad-enum:specs/live.yaml:3:18" in shown.err
    assert "bad-yaml:specs/live.yaml:" in shown.err
    assert str(repo) not in shown.err
    assert tempfile.gettempdir() not in shown.err


def test_targets_that_came_went_or_moved_are_said(repo: Path) -> None:
    project = yaml.safe_load((repo / "ivs-reconciler.yaml").read_text(encoding="utf-8"))
    project["targets"] = {"dev": {**project["targets"]["dev"], "region": "eu-west-1"}, "prod": {"region": "us-west-2"}}
    (repo / "ivs-reconciler.yaml").write_text(yaml.safe_dump(project), encoding="utf-8")
    commit(repo, tag="moved")
    shown = diff(repo, "head..moved", "--format", "json").json
    dev, prod = shown["targets"]
    assert "account or region changed" in dev["notes"][0]
    assert prod["notes"] == ["the base revision has no such target: everything is new"]
    assert prod["accountId"] == ""
    back = diff(repo, "moved..head", "--format", "json").json
    assert any("target prod was removed from the project file" in note for note in back["targets"][0]["notes"])
    unknown = diff(repo, "head..moved", "-t", "stage")
    assert (unknown.code, "the targets are dev, prod" in unknown.err) == (1, True)


def test_a_project_in_a_folder_of_a_larger_repository(tmp_path: Path) -> None:
    top = repository(tmp_path / "mono")
    folder = stack(top / "video" / "live", BASE)
    commit(top, tag="base")
    rewrite(folder, HEAD)
    commit(top, tag="head")
    inside = diff(folder, "base..head", "--format", "json").json["targets"]
    assert inside == run(top, "-C", "video/live", "diff", "base..head", "--format", "json").json["targets"]
    assert (
        inside
        == diff(top, "base..head", "--config", "video/live/ivs-reconciler.yaml", "--format", "json").json["targets"]
    )
    assert len(inside[0]["actions"]) == 7


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("no-such..HEAD", "unknown revision 'no-such' in this clone"),
        ("--output=x..HEAD", ""),
        ("HEAD..HEAD:specs", "unknown revision 'HEAD:specs'"),
        ("base...alone", "no merge base in this clone"),
    ],
)
def test_what_cannot_be_compared_is_said(repo: Path, words: str, message: str) -> None:
    git(repo, "checkout", "-q", "--orphan", "alone")
    commit(repo)
    shown = diff(repo, words)
    assert shown.code == 1
    assert message in shown.err
    assert not (repo / "x").exists()


def test_outside_a_repository_the_message_says_so(tmp_path: Path) -> None:
    shown = diff(stack(tmp_path / "plain", BASE), "a..b")
    assert shown.code == 1
    assert shown.err == ". is not in a git repository; run in a clone\n"


def test_links_of_a_revision_lead_nowhere_outside(repo: Path, tmp_path: Path) -> None:
    secret = tmp_path / "secret.yaml"
    secret.write_text("channels: {stolen: {}}\n", encoding="utf-8")
    specs = repo / "specs"
    (specs / "absolute.yaml").symlink_to(secret)
    (specs / "upwards.yaml").symlink_to("../../../../../../../../../../etc/passwd")
    (specs / "folder").symlink_to("/")
    (specs / "chain").symlink_to("folder/etc")
    commit(repo, tag="links")
    shown = diff(repo, "base..links")
    assert shown.code == 1
    for name in ("absolute.yaml", "upwards.yaml"):
        assert f"links:specs/{name}: is a symbolic link to a file outside the project" in shown.err
    assert "stolen" not in shown.err + shown.out
    assert "folder" not in shown.err


def test_a_link_within_the_project_is_followed(repo: Path) -> None:
    (repo / "shared.yaml").write_text("channels: {linked: {}}\n", encoding="utf-8")
    (repo / "specs" / "linked.yaml").symlink_to("../shared.yaml")
    commit(repo, tag="linked")
    assert "channel/linked will be created" in diff(repo, "head..linked").out


def test_a_project_file_that_is_a_link_is_refused(repo: Path) -> None:
    (repo / "ivs-reconciler.yaml").rename(repo / "real.yaml")
    (repo / "ivs-reconciler.yaml").symlink_to("real.yaml")
    commit(repo, tag="linked")
    shown = diff(repo, "base..linked")
    assert (shown.code, "linked:ivs-reconciler.yaml is a symbolic link" in shown.err) == (1, True)


def test_a_huge_file_is_refused_by_name_without_being_read(repo: Path) -> None:
    with (repo / "specs" / "huge.yaml").open("wb") as stream:
        stream.truncate(17 << 20)
    with (repo / "film.mp4").open("wb") as stream:
        stream.truncate(40 << 20)
    commit(repo, tag="huge")
    shown = diff(repo, "base..huge")
    assert shown.code == 1
    assert "huge:specs/huge.yaml: has 17,825,792 bytes, more than the limit of 16,777,216" in shown.err
    assert "film" not in shown.err


def test_a_tree_with_names_that_lead_out_is_refused(repo: Path) -> None:
    blob = git(repo, "hash-object", "-w", "--stdin", stdin="channels: {}\n")
    content = b"100644 ..\0" + bytes.fromhex(blob)
    project = git(repo, "rev-parse", "head:ivs-reconciler.yaml")
    content += b"100644 ivs-reconciler.yaml\0" + bytes.fromhex(project)
    raw = repo.parent / "tree"
    raw.write_bytes(content)
    tree = git(repo, "hash-object", "-t", "tree", "-w", "--literally", str(raw))
    evil = git(repo, "commit-tree", tree, "-m", "evil")
    shown = diff(repo, f"base..{evil}")
    assert shown.code == 1
    assert "a name that git does not check out" in shown.err


def test_nothing_of_a_revision_is_run(repo: Path, tmp_path: Path) -> None:
    mark = tmp_path / "ran"
    (repo / ".gitattributes").write_text("* filter=evil diff=evil\n", encoding="utf-8")
    git(repo, "config", "filter.evil.smudge", f"touch {mark}; cat")
    git(repo, "config", "diff.evil.textconv", f"touch {mark}; cat")
    for hook in ("post-checkout", "reference-transaction", "post-index-change"):
        path = repo / ".git" / "hooks" / hook
        path.write_text(f"#!/bin/sh\ntouch {mark}\n", encoding="utf-8")
        path.chmod(0o755)
    commit(repo, tag="evil")
    mark.unlink(missing_ok=True)
    assert diff(repo, "base..evil").code == 0
    assert not mark.exists()


def test_key_files_of_a_revision_are_read_from_it(repo: Path) -> None:
    keys = Path(__file__).resolve().parent.parent / "scenarios" / "keys"
    (repo / "keys").mkdir()
    shutil.copy(keys / "one.pem", repo / "keys" / "web.pem")
    rewrite(repo, {"playbackKeyPairs": {"web": {"publicKeyMaterial": {"file": "keys/web.pem"}}}}, name="keys.yaml")
    commit(repo, tag="first-key")
    shutil.copy(keys / "two.pem", repo / "keys" / "web.pem")
    commit(repo, tag="second-key")
    (repo / "keys" / "web.pem").unlink()
    assert "playback-key-pair/web must be replaced: created, then deleted" in diff(repo, "first-key..second-key").out


def decoy(folder: Path, work_tree: Path) -> None:
    """Put files into a directory that make git take it for a bare repository."""
    bare = work_tree.parent / "bare"
    git(work_tree, "clone", "-q", "--bare", "--no-local", str(work_tree), str(bare))
    for name in ("HEAD", "objects", "refs", "packed-refs"):
        source = bare / name
        if source.is_dir():
            shutil.copytree(source, folder / name)
        elif source.exists():
            shutil.copy(source, folder / name)
    (folder / "refs").mkdir(exist_ok=True)
    (folder / "refs" / "keep").write_text("", encoding="utf-8")
    (folder / "config").write_text(
        f"[core]\n\trepositoryformatversion = 0\n\tbare = false\n\tworktree = {work_tree}\n", encoding="utf-8"
    )


@pytest.mark.parametrize("verb", [("diff", "main...HEAD"), ("comment", "--diff", "main...HEAD", "--dry-run")])
def test_files_of_a_commit_are_not_taken_for_the_repository(tmp_path: Path, verb: tuple[str, ...]) -> None:
    repo = repository(tmp_path / "repo")
    project = stack(repo / "live", {"channels": {"private": {"authorized": True}}})
    commit(repo)
    git(repo, "switch", "-qc", "change")
    decoy(project, repo)
    rewrite(project, {"channels": {"private": {"authorized": False}}})
    commit(repo)
    assert git(repo, "rev-parse", "main") != git(repo, "rev-parse", "HEAD")
    shown = run(project, *verb)
    assert "channel/private" in shown.out, shown
    assert "authorized" in shown.out
    head = git(repo, "rev-parse", "HEAD").strip()
    assert run(project, "plan", "--base", "main", "--format", "json").json["gitCommit"] == head


def test_a_directory_that_only_looks_like_a_repository_is_none(tmp_path: Path) -> None:
    repo = repository(tmp_path / "repo")
    stack(repo, {"channels": {"one": {}}})
    commit(repo)
    lone = stack(tmp_path / "elsewhere", {"channels": {"one": {}}})
    decoy(lone, repo)
    shown = run(lone, "diff", "HEAD")
    assert shown.code == 1
    assert "cannot use bare repository" in shown.err
    assert run(lone, "plan", "--format", "json").json["gitCommit"] is None


def test_a_clone_without_blobs_is_an_error_and_not_an_empty_answer(repo: Path, tmp_path: Path) -> None:
    git(repo, "config", "uploadpack.allowFilter", "true")
    git(repo, "clone", "-q", "--filter=blob:none", "--no-checkout", f"file://{repo}", str(tmp_path / "blobless"))
    shown = run(tmp_path / "blobless", "diff", "base..head")
    assert (shown.code, shown.out) == (1, "")
    assert "git fetch --refetch --no-filter" in shown.err


@pytest.mark.parametrize("verb", [("diff", "HEAD"), ("comment", "--diff", "HEAD", "--dry-run")])
def test_without_git_it_is_said_so(repo: Path, tmp_path: Path, verb: tuple[str, ...]) -> None:
    shown = run(repo, *verb, env={"PATH": str(tmp_path)})
    assert shown.code == 1
    assert shown.err.endswith("git is not installed, or not on PATH; install it\n")


def test_a_directory_without_a_commit_and_one_that_git_cannot_read_are_different_errors(
    repo: Path, tmp_path: Path
) -> None:
    plain = tmp_path / "plain"
    shutil.copytree(repo, plain, ignore=shutil.ignore_patterns(".git"))
    plan = ("plan", "--base", "main")
    assert run(plain, *plan).err == f"--base main: {plain} is not in a git repository; run in a clone\n"
    git(plain, "init", "-q")
    assert run(plain, *plan).err == f"--base main: the git repository of {plain} has no commit; commit first\n"
    assert run(plain, *plan, env={"PATH": str(tmp_path)}).err == (
        f"--base main: {plain}: git cannot read the repository: git is not installed, or not on PATH; install it\n"
    )


def test_a_small_commit_that_lists_a_hundred_million_files_is_refused_within_bounds(repo: Path) -> None:
    blob = git(repo, "hash-object", "-w", "--stdin", stdin="channels: {}\n")
    entry = f"100644 blob {blob}"
    for _ in range(8):
        tree = git(repo, "mktree", stdin="".join(f"{entry}\td{number}\n" for number in range(10)))
        entry = f"040000 tree {tree}"
    root = git(repo, "mktree", stdin=git(repo, "ls-tree", "HEAD") + f"\n{entry}\tbomb\n")
    bomb = git(repo, "commit-tree", root, "-p", "HEAD", "-m", "bomb")
    peak = "import resource,runpy,sys; resource.setrlimit(resource.RLIMIT_AS, (1 << 30, 1 << 30)); sys.argv[0] = 'x'; "
    done = subprocess.run(
        [sys.executable, "-c", peak + "runpy.run_module('reconciler', run_name='__main__')", "diff", f"HEAD..{bomb}"],
        cwd=repo,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert (done.returncode, "git's answer is longer than 16 MiB" in done.stderr) == (1, True), done.stderr
