"""Drift in a fresh clone, which has no record of the last apply: git tells what was deleted outside from what was merged and never applied."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest
import yaml

from reconciler.git.committed import addresses_applied
from reconciler.sandbox import Sandbox
from reconciler.spec.project import load_project
from tests.cli.support import ACCOUNT, arn_of, client, outside, rewrite, run, stack
from tests.controller.git import commit, git, repository

ONE: dict[str, object] = {"channels": {"one": {}, "two": {}}}
NEW: dict[str, object] = {"channels": {"one": {}, "two": {}, "three": {}}}
TAG = "ivs-reconciler:commit"


@pytest.fixture
def repo(tmp_path: Path) -> Path:
    """A clone whose first commit, with two channels, is applied, and that has no record of it."""
    folder = stack(repository(tmp_path / "repo"), ONE)
    (folder / ".gitignore").write_text(".sandbox/\n.ivs-reconciler/\n", encoding="utf-8")
    commit(folder)
    apply(folder)
    return folder


def apply(folder: Path, *words: str) -> None:
    """Apply, check that the next plan is empty, and forget the record, as another machine does not have it."""
    ran = run(folder, "apply", "--auto-approve", *words)
    assert ran.code == 0, ran.err
    assert run(folder, "plan", "--detailed-exitcode", *words).code == 0
    forget_record(folder)


def forget_record(folder: Path) -> None:
    shutil.rmtree(folder / ".ivs-reconciler", ignore_errors=True)


def delete(folder: Path, *names: str) -> None:
    with outside(folder) as (ivs, _):
        for name in names:
            ivs.delete_channel(arn=arn_of(ivs, name))


def tags(folder: Path) -> dict[str, str]:
    """Return the recorded commit by the name of the channel that has it."""
    with outside(folder) as (ivs, _):
        found = ivs.list_channels()["channels"]
    return {each["name"]: each["tags"][TAG] for each in found if TAG in each["tags"]}


def is_unknown(tag: str) -> bool:
    """Return whether a commit is unknown; each such apply has a mark of its own."""
    return re.fullmatch("unknown-[0-9a-f]{12}", tag) is not None


def drift(folder: Path, *words: str) -> tuple[int, dict[str, str], str]:
    """Return the exit code of drift, the status of each channel, and the notes."""
    ran = run(folder, "drift", "--format", "json", *words)
    assert "Traceback" not in ran.err
    (target, *_) = ran.json["targets"]
    found = {each["address"]: each["status"] for each in target["findings"] if each["address"].startswith("channel/")}
    return ran.code, found, "\n".join(target["notes"])


def test_a_channel_that_was_merged_and_never_applied_is_pending(repo: Path) -> None:
    rewrite(repo, NEW)
    commit(repo)
    assert drift(repo) == (5, {"channel/three": "pending"}, "")
    first = git(repo, "rev-parse", "HEAD^")
    assert f"not in commit {first[:10]}, the last applied" in run(repo, "drift").out
    git(repo, "checkout", "-q", "--detach")
    assert drift(repo)[:2] == (5, {"channel/three": "pending"})
    # Not committed either: the work tree is what is compared.
    rewrite(repo, {"channels": {"one": {}, "two": {}, "three": {}, "four": {}}})
    assert drift(repo)[:2] == (5, {"channel/three": "pending", "channel/four": "pending"})


def test_a_channel_that_was_applied_is_missing(repo: Path) -> None:
    delete(repo, "two")
    assert drift(repo) == (2, {"channel/two": "missing"}, "")
    commit_one = git(repo, "rev-parse", "HEAD")
    assert f"in commit {commit_one[:10]}, the last applied" in run(repo, "drift").out
    rewrite(repo, NEW)
    commit(repo)
    assert drift(repo) == (2, {"channel/two": "missing", "channel/three": "pending"}, "")


def test_the_only_channel_of_the_last_apply_is_missing_when_it_is_deleted(repo: Path) -> None:
    """The commit is kept by a resource that was there before, not by the new one alone."""
    rewrite(repo, NEW)
    commit(repo)
    apply(repo)
    assert tags(repo) == {"one": git(repo, "rev-parse", "HEAD")}
    delete(repo, "three")
    assert drift(repo) == (2, {"channel/three": "missing"}, "")


def test_the_resource_with_the_commit_is_deleted_too(repo: Path) -> None:
    delete(repo, "one")
    rewrite(repo, NEW)
    commit(repo)
    code, found, _ = drift(repo)
    assert (code, found) == (2, {"channel/one": "missing", "channel/three": "missing"})
    assert "deleted outside ivs-reconciler, or never applied" in run(repo, "drift").out


def test_a_renamed_channel_is_missing_under_its_new_address(repo: Path) -> None:
    delete(repo, "two")
    rewrite(repo, {"channels": {"one": {}, "second": {"name": "two"}}, "moved": {"channel/two": "channel/second"}})
    commit(repo)
    assert drift(repo)[:2] == (2, {"channel/second": "missing"})
    rewrite(repo, {"channels": {"one": {}, "second": {"name": "two"}, "two": {}}})
    commit(repo)
    assert drift(repo)[:2] == (2, {"channel/second": "pending", "channel/two": "missing"})


def test_loops_and_placeholders_are_those_of_the_commit(repo: Path) -> None:
    rewrite(
        repo, {"channels": {"one": {}, "two": {}, "loop": {"forEach": ["a", "b"], "name": "{stack}-{target}-{each}"}}}
    )
    commit(repo)
    apply(repo)
    delete(repo, "acme-live-dev-b")
    rewrite(
        repo,
        {"channels": {"one": {}, "two": {}, "loop": {"forEach": ["a", "b", "c"], "name": "{stack}-{target}-{each}"}}},
    )
    commit(repo)
    assert drift(repo)[:2] == (2, {"channel/loop-b": "missing", "channel/loop-c": "pending"})


def test_what_git_cannot_distinguish_is_reported_and_exits_as_before(repo: Path, tmp_path: Path) -> None:
    first = git(repo, "rev-parse", "HEAD")
    rewrite(repo, NEW)
    commit(repo)
    shallow = tmp_path / "shallow"
    git(tmp_path, "clone", "-q", "--depth", "1", f"file://{repo}", str(shallow))
    shutil.copytree(repo / ".sandbox", shallow / ".sandbox")
    code, found, notes = drift(shallow)
    assert (code, found) == (2, {"channel/three": "missing"})
    assert f"commit {first[:10]} of the last apply is not in this shallow clone; fetch the history" in notes
    for words in (("drift", "--accept", "channel/three"), ("export", "--update")):
        accepted = run(shallow, *words)
        assert accepted.code == 2
        assert (
            f"note: dev: cannot distinguish a resource deleted outside from one never applied: there is no record of the last apply, and commit {first[:10]} of the last apply is not in this shallow clone"
            in accepted.err
        )
    assert not (shallow / ".git" / "FETCH_HEAD").exists()

    gone = tmp_path / "gone"
    git(repo, "checkout", "-q", "--orphan", "rewritten")
    git(repo, "commit", "-q", "-m", "rewritten")
    git(tmp_path, "clone", "-q", "--single-branch", "--branch", "rewritten", f"file://{repo}", str(gone))
    shutil.copytree(repo / ".sandbox", gone / ".sandbox")
    code, found, notes = drift(gone)
    assert (code, found) == (2, {"channel/three": "missing"})
    assert f"commit {first[:10]} of the last apply is not in this clone" in notes

    shutil.rmtree(gone / ".git")
    code, found, notes = drift(gone)
    assert (code, found) == (2, {"channel/three": "missing"})
    assert "is not in a git repository" in notes


def test_an_apply_with_uncommitted_changes_records_no_commit(repo: Path) -> None:
    rewrite(repo, NEW)
    apply(repo)
    assert {name: is_unknown(one) for name, one in tags(repo).items()} == {"one": True}
    delete(repo, "three")
    code, found, notes = drift(repo)
    assert (code, found) == (2, {"channel/three": "missing"})
    assert "ran with uncommitted changes" in notes
    commit(repo)
    apply(repo)
    assert tags(repo) == {"one": git(repo, "rev-parse", "HEAD")}


def test_of_two_machines_with_uncommitted_changes_each_knows_its_own_apply(repo: Path, tmp_path: Path) -> None:
    """Their commit is unknown on both, and the older record must not pass for that of the newer apply."""
    four: dict[str, object] = {"channels": {"one": {}, "two": {}, "three": {}, "four": {}}}
    rewrite(repo, NEW)
    assert run(repo, "apply", "--auto-approve").code == 0
    (repo / ".ivs-reconciler").rename(tmp_path / "older")
    rewrite(repo, four)
    assert run(repo, "apply", "--auto-approve").code == 0
    delete(repo, "four")
    rewrite(repo, {"channels": {**four["channels"], "five": {}}})  # type: ignore[dict-item]
    assert drift(repo)[:2] == (2, {"channel/four": "missing", "channel/five": "pending"})
    forget_record(repo)
    (tmp_path / "older").rename(repo / ".ivs-reconciler")
    assert drift(repo)[1]["channel/four"] == "missing", "the older record does not have it"


@pytest.mark.parametrize("words", [(), ("--executor", "processes:1")], ids=["threads", "processes"])
def test_an_apply_with_nothing_to_do_corrects_an_unknown_commit_once(tmp_path: Path, words: tuple[str, ...]) -> None:
    with Sandbox() as sandbox:
        folder = stack(
            repository(tmp_path / "repo"), ONE, target={"sandbox": None, "endpointUrl": sandbox.endpoint_url}
        )
        (folder / ".gitignore").write_text(".ivs-reconciler/\n", encoding="utf-8")
        commit(folder)
        env = {"AWS_ACCESS_KEY_ID": ACCOUNT, "AWS_SECRET_ACCESS_KEY": "any"}

        def applied(*more: str) -> list[str]:
            """Apply without a change, check that the next plan is empty, and return the commits that were recorded."""
            sandbox.control.clear_calls()
            ran = run(folder, "apply", "--auto-approve", *words, *more, env=env)
            assert (ran.code, "No changes" in ran.out) == (0, True), ran.err
            assert run(folder, "plan", "--detailed-exitcode", env=env).code == 0
            writes = [
                call
                for call in sandbox.control.calls()
                if not call["operation"].startswith(("List", "Get", "BatchGet"))
            ]
            assert {call["operation"] for call in writes} <= {"TagResource"}
            return [call["parameters"]["tags"][TAG] for call in writes]

        rewrite(folder, NEW)
        assert run(folder, "apply", "--auto-approve", env=env).code == 0
        assert applied() == [], "uncommitted changes"
        commit(folder)
        assert applied("--only", "channel/one") == [], "a part"
        head = git(folder, "rev-parse", "HEAD")
        assert applied() == [head]
        assert applied() == []
        git(folder, "commit", "-q", "--allow-empty", "-m", "no change here")
        assert applied() == [], "the older commit has the same addresses"
        # Without any tag, as of a stack that an earlier version applied.
        ivs = client(sandbox.endpoint_url)
        for channel in ivs.list_channels()["channels"]:
            ivs.untag_resource(resourceArn=channel["arn"], tagKeys=[TAG])
        assert applied() == [git(folder, "rev-parse", "HEAD")]
        sandbox.control.deny("TagResource")
        ivs.untag_resource(resourceArn=arn_of(ivs, "one"), tagKeys=[TAG])
        ran = run(folder, "apply", "--auto-approve", *words, env=env)
        assert (ran.code, "the commit of this apply was not recorded" in ran.err) == (0, True)


def test_outside_a_repository_no_tag_is_written_and_an_older_one_is_no_longer_used(repo: Path) -> None:
    shutil.rmtree(repo / ".git")
    rewrite(repo, NEW)
    apply(repo)
    assert {name: is_unknown(one) for name, one in tags(repo).items()} == {"one": True}
    plain = stack(repo.parent / "plain", ONE)
    apply(plain)
    assert tags(plain) == {}


@pytest.mark.parametrize(
    ("files", "said"),
    [
        ({"ivs-reconciler.yaml": "stack: ["}, "the project file of commit {then}, the last applied, is not valid: "),
        ({"ivs-reconciler.yaml": None}, "commit {then} of the last apply has no ivs-reconciler.yaml here"),
        ({"ivs-reconciler.yaml": ("acme-live", "other")}, "commit {then} of the last apply has no target dev of the stack acme-live"),
        ({"specs/live.yaml": "channels: 3"}, "the spec of commit {then}, the last applied, is not valid: "),
    ],
)  # fmt: skip
def test_a_commit_whose_spec_cannot_be_read_decides_nothing_and_is_reported(
    repo: Path, files: dict[str, str | tuple[str, str] | None], said: str
) -> None:
    for name, content in files.items():
        path = repo / name
        if content is None:
            path.unlink()
        else:
            path.write_text(content if isinstance(content, str) else path.read_text("utf-8").replace(*content), "utf-8")
    commit(repo)
    then = git(repo, "rev-parse", "HEAD")
    git(repo, "checkout", "-q", "HEAD^", "--", *files)
    rewrite(repo, NEW)
    commit(repo)
    with outside(repo) as (ivs, _):
        ivs.tag_resource(resourceArn=arn_of(ivs, "one"), tags={TAG: then})
    code, found, notes = drift(repo)
    assert (code, found) == (2, {"channel/three": "missing"})
    assert said.format(then=then[:10]) in notes


def test_several_commits_decide_together_and_too_many_do_not(repo: Path) -> None:
    rewrite(repo, NEW)
    commit(repo)
    apply(repo)
    four: dict[str, object] = {"channels": {"one": {}, "two": {}, "three": {}, "four": {}}}
    rewrite(repo, four)
    commit(repo)
    commits = git(repo, "rev-list", "HEAD").split()
    delete(repo, "three")
    with outside(repo) as (ivs, _):
        for name, one in (("one", commits[2]), ("two", commits[1])):
            ivs.tag_resource(resourceArn=arn_of(ivs, name), tags={TAG: one})
    assert drift(repo) == (2, {"channel/three": "missing", "channel/four": "pending"}, "")
    rewrite(repo, {"channels": {**four["channels"], "five": {}, "six": {}}})  # type: ignore[dict-item]
    apply(repo)
    delete(repo, "six")
    with outside(repo) as (ivs, _):
        for number, name in enumerate(("one", "two", "three", "four")):
            ivs.tag_resource(resourceArn=arn_of(ivs, name), tags={TAG: str(number) * 40})
    code, found, notes = drift(repo)
    assert (code, found) == (2, {"channel/six": "missing"})
    assert "4 different commits are recorded as the last apply's" in notes


def test_a_fleet_reads_a_commit_twice_and_not_for_each_target(repo: Path) -> None:
    """The tasks of a fleet have one target each; from the second on, all that the commit has are known."""
    project = yaml.safe_load((repo / "ivs-reconciler.yaml").read_text("utf-8"))
    dev = project["targets"]["dev"]
    project["targets"] = {f"t{n}": {**dev, "sandbox": f".sandbox/{n}.db"} for n in range(4)}
    (repo / "ivs-reconciler.yaml").write_text(yaml.safe_dump(project), "utf-8")
    commit(repo)
    then = git(repo, "rev-parse", "HEAD")
    whole = load_project(repo)

    def known(name: str) -> bool:
        alone = whole._replace(targets={name: whole.targets[name]})
        return addresses_applied(alone, name, [then]).addresses is not None

    assert known("t0")
    assert known("t1")
    shutil.rmtree(repo / ".git")
    assert known("t2")
    assert known("t3")


def test_a_tag_of_anyone_is_no_argument_of_git(repo: Path) -> None:
    with outside(repo) as (ivs, _):
        ivs.tag_resource(resourceArn=arn_of(ivs, "one"), tags={TAG: "--output=x"})
    assert run(repo, "plan", "--detailed-exitcode").code == 0
    rewrite(repo, NEW)
    assert drift(repo)[:2] == (2, {"channel/three": "missing"})


def test_each_target_has_its_own_commit(tmp_path: Path) -> None:
    folder = stack(repository(tmp_path / "repo"), ONE)
    config = folder / "ivs-reconciler.yaml"
    config.write_text(
        f"stack: acme-live\ntargets:\n"
        f"  dev: {{region: us-west-2, accountId: '{ACCOUNT}', sandbox: .sandbox/dev.db}}\n"
        f"  prod: {{region: eu-west-1, accountId: '{ACCOUNT}', sandbox: .sandbox/prod.db}}\n",
        encoding="utf-8",
    )
    (folder / ".gitignore").write_text(".sandbox/\n.ivs-reconciler/\n", encoding="utf-8")
    commit(folder)
    apply(folder)
    rewrite(folder, NEW)
    commit(folder)
    apply(folder, "-t", "dev")
    delete(folder, "three")
    assert drift(folder, "-t", "dev")[:2] == (2, {"channel/three": "missing"})
    assert drift(folder, "-t", "prod")[:2] == (5, {"channel/three": "pending"})


def test_a_forgotten_or_adopted_resource_keeps_no_commit_of_others(repo: Path) -> None:
    rewrite(repo, {"channels": {"two": {}}, "forget": ["channel/one"]})
    commit(repo)
    apply(repo)
    assert tags(repo) == {"two": git(repo, "rev-parse", "HEAD")}


def test_an_account_that_was_only_adopted_has_the_commit(tmp_path: Path) -> None:
    folder = stack(repository(tmp_path / "repo"), ONE)
    (folder / ".gitignore").write_text(".sandbox/\n.ivs-reconciler/\n", encoding="utf-8")
    many = {f"k{number:02}": "v" for number in range(42)}
    rewrite(folder, {"channels": {"many": {"tags": many}, **ONE["channels"]}})  # type: ignore[dict-item]
    commit(folder)
    with outside(folder) as (ivs, _):
        ivs.create_channel(name="many", tags=many)
        for name in ("one", "two"):
            ivs.create_channel(name=name)
    apply(folder, "--adopt")
    assert tags(folder) == {"one": git(folder, "rev-parse", "HEAD")}
    rewrite(folder, {"channels": {"many": {"tags": many}, **NEW["channels"]}})  # type: ignore[dict-item]
    commit(folder)
    delete(folder, "two")
    assert drift(folder)[:2] == (2, {"channel/three": "pending", "channel/two": "missing"})
    with outside(folder) as (ivs, _):
        ivs.untag_resource(resourceArn=arn_of(ivs, "one"), tagKeys=[TAG])
    code, found, notes = drift(folder)
    assert (code, found) == (2, {"channel/three": "missing", "channel/two": "missing"})
    assert "there is no record of the last apply, and no resource has its commit as a tag" in notes


def test_a_resource_with_many_tags_gets_no_more(repo: Path) -> None:
    many = {f"k{number:02}": "v" for number in range(45)}
    rewrite(repo, {"channels": {"one": {"tags": many}, "two": {}}})
    commit(repo)
    apply(repo)
    with outside(repo) as (ivs, _):
        assert len(ivs.get_channel(arn=arn_of(ivs, "one"))["channel"]["tags"]) <= 50
        ivs.tag_resource(resourceArn=arn_of(ivs, "one"), tags={TAG: "unknown-0123456789ab"})
    assert drift(repo)[:2] == (0, {})
    apply(repo)
    assert tags(repo)["one"] == "unknown-0123456789ab", "nor a correction, which each apply would try again"


def test_the_commit_is_unknown_until_everything_is_created(tmp_path: Path) -> None:
    """An apply that is killed, interrupted or fails proves nothing about what is not there."""
    with Sandbox() as sandbox:
        place = {"sandbox": None, "endpointUrl": sandbox.endpoint_url}
        folder = stack(repository(tmp_path / "repo"), ONE, target=place)
        (folder / ".gitignore").write_text(".ivs-reconciler/\n", encoding="utf-8")
        env = {"AWS_ACCESS_KEY_ID": ACCOUNT, "AWS_SECRET_ACCESS_KEY": "any"}
        commit(folder)
        assert run(folder, "apply", "--auto-approve", env=env).code == 0
        rewrite(folder, NEW)
        commit(folder)
        sandbox.control.clear_calls()
        assert run(folder, "apply", "--auto-approve", env=env).code == 0
        before, create, after = (
            call for call in sandbox.control.calls()[::-1] if call["operation"] in ("TagResource", "CreateChannel")
        )
        assert create["operation"] == "CreateChannel"
        assert is_unknown(before["parameters"]["tags"][TAG])
        assert after["parameters"]["tags"] == {TAG: git(folder, "rev-parse", "HEAD")}

        def recorded() -> set[str]:
            channels = client(sandbox.endpoint_url).list_channels()["channels"]
            return {each["tags"][TAG] for each in channels if TAG in each["tags"]}

        assert recorded() == {git(folder, "rev-parse", "HEAD")}
        rewrite(folder, {"channels": {"one": {}, "two": {}, "three": {}, "four": {}}})
        commit(folder)
        sandbox.control.deny("CreateChannel")
        assert run(folder, "apply", "--auto-approve", env=env).code == 4
        assert [is_unknown(one) for one in recorded()] == [True]
        sandbox.control.clear_faults()

        # A tag that cannot be written stops nothing, and is said.
        sandbox.control.deny("TagResource")
        ran = run(folder, "apply", "--auto-approve", env=env)
        assert "the commit of this apply was not recorded" in ran.err
        sandbox.control.clear_faults()
        assert run(folder, "apply", "--auto-approve", env=env).code == 0
        assert run(folder, "plan", "--detailed-exitcode", env=env).code == 0


def test_accepting_drift_distinguishes_missing_from_pending_in_the_same_way(repo: Path) -> None:
    rewrite(repo, NEW)
    commit(repo)
    pending = run(repo, "drift", "--accept", "channel/three")
    assert (pending.code, pending.err) == (1, "channel/three: no drift to accept\n")
    assert run(repo, "export", "--update").out == "No drift to accept.\n"
    delete(repo, "two")
    missing = run(repo, "drift", "--accept", "channel/two")
    assert missing.code == 2
    assert "channel/two: deleted outside ivs-reconciler since the last apply (in commit" in missing.err
    assert "to accept that, remove it from the spec" in missing.err
