"""Comments through the command line and the real clients, on a forge that answers as GitHub and GitLab document."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from reconciler.diff import FieldChange
from reconciler.forge.client import marker
from reconciler.plan.codec import dumps
from reconciler.plan.plan import Base, Plan, Verb
from tests.cli.support import Ran, arn_of, outside, rewrite, run, stack
from tests.controller.git import commit, git, repository
from tests.forge.forge import HEAD, Fault, Forge
from tests.forge.runs import BASE, github, gitlab
from tests.report.forge import is_harmless
from tests.report.makers import a_plan, a_target, an_action, the_small_target

SPEC: dict[str, object] = {"channels": {"one": {"latencyMode": "LOW"}, "two": {}}}

Env = Callable[..., dict[str, str]]


@pytest.fixture(params=["github", "gitlab"])
def env(request: pytest.FixtureRequest, forge: Forge, tmp_path: Path) -> Env:
    """Give what makes the environment of a run, on either forge."""
    return lambda **changed: (
        github(forge, tmp_path, **changed) if request.param == "github" else gitlab(forge, **changed)
    )


def author_of(env: dict[str, str]) -> str:
    return "github-actions[bot]" if env.get("GITHUB_ACTIONS") else "project_77_bot"


def saved(folder: Path, plan: Plan, name: str = "p.json") -> Path:
    (folder / name).write_text(dumps(plan), encoding="utf-8")
    return folder / name


def comment(folder: Path, env: dict[str, str], *words: str) -> Ran:
    ran = run(folder, "comment", *words, env=env)
    for token in ("GITHUB_TOKEN", "GITLAB_TOKEN"):
        assert not env.get(token) or env[token] not in ran.out + ran.err
    return ran


def test_a_comment_is_written_then_replaced_in_place_then_left_alone(env: Env, forge: Forge, tmp_path: Path) -> None:
    forge.add("Looks good to me!", "ada")
    first = saved(tmp_path, a_plan(the_small_target()))
    ran = comment(tmp_path, env(), "--plan", first.name)
    assert ran.code == 0, ran.err
    assert ran.out.startswith("prod: comment created")
    assert len(forge.bodies()) == 2
    body = forge.bodies()[1]
    assert body.startswith(marker("acme-live", "prod") + "\n## Plan for stack `acme-live`")
    assert f"Commit: `{HEAD}`" in body
    assert f"Base: `{BASE}`" in body
    saved(tmp_path, a_plan(the_small_target())._replace(created_at="2027-01-01T00:00:00Z"))
    before = len(forge.writes)
    assert "comment unchanged" in comment(tmp_path, env(), "--plan", first.name).out
    assert len(forge.writes) == before
    # The base that was planned with, which may have moved since the forge started the run.
    saved(tmp_path, a_plan(the_small_target())._replace(base=Base("main", "d" * 40)))
    assert "comment updated" in comment(tmp_path, env(), "--plan", first.name).out
    assert f"Base: `{'d' * 40} (main)`" in forge.bodies()[1]
    saved(tmp_path, a_plan(a_target(an_action(Verb.DELETE, "channel/last-year"))))
    assert "comment updated" in comment(tmp_path, env(), "--plan", first.name).out
    assert len(forge.bodies()) == 2
    assert "- channel/last-year" in forge.bodies()[1]


def named(*names: str, **changed: Any) -> Plan:
    return a_plan(*(the_small_target()._replace(name=name) for name in names))._replace(**changed)


def test_one_comment_has_all_targets_and_replaces_those_of_an_earlier_run(
    env: Env, forge: Forge, tmp_path: Path
) -> None:
    six = [f"target-{number}" for number in range(6)]
    saved(tmp_path, named(*six))
    assert comment(tmp_path, env(), "--plan", "p.json").out.startswith("acme-live: comment created")
    assert [method for method, _ in forge.writes] == ["POST"]
    (body,) = forge.bodies()
    assert body.startswith(marker("acme-live", *six) + "\n## Plan for stack `acme-live`")
    assert body.index("| Target | Account | Region | ") < body.index("### All 6 targets")
    assert body.count("\n- channel/last-year") == 1
    assert "**To delete: 1, in each of 6 targets**" in body
    # Again, and from a file with another order: nothing is written.
    saved(tmp_path, named(*six))
    assert "comment unchanged" in comment(tmp_path, env(), "--plan", "p.json").out
    # Comments of single targets, and of other sets of the same targets, are outdated; the oldest is replaced in place.
    forge.comments[12].clear()
    login = author_of(env())
    first = forge.add(f"{marker('acme-live', 'target-3')}\nold", login)
    forge.add(f"{marker('acme-live', 'target-5', 'target-1')}\nold", login)
    stays = [
        f"{marker('acme-live', 'target-3')}\nof another",
        f"{marker('acme-live', 'target-3', 'target-9')}\nfurther target",
        f"{marker('other', 'target-3')}\nother stack",
    ]
    forge.add(stays[0], "mallory")
    forge.add(stays[1], login)
    forge.add(stays[2], login)
    assert "acme-live: comment updated" in comment(tmp_path, env(), "--plan", "p.json").out
    assert forge.comments[12][0]["id"] == first
    assert forge.bodies()[0].startswith(marker("acme-live", *six))
    assert forge.bodies()[1:] == stays
    # A run for some targets has a comment of its own, until the next run for all.
    assert "target-2: comment created" in comment(tmp_path, env(), "--plan", "p.json", "-t", "target-2").out
    assert len(forge.bodies()) == 5
    comment(tmp_path, env(), "--plan", "p.json")
    assert len(forge.bodies()) == 4


def test_a_target_that_left_the_project_leaves_the_comment(env: Env, forge: Forge, tmp_path: Path) -> None:
    forge.add(f"{marker('acme-live', 'a', 'b', 'gone')}\nold", author_of(env()))
    forge.add(f"{marker('acme-live', 'elsewhere')}\nof another project file", author_of(env()))
    targets = {name: {"region": "us-west-2", "sandbox": f".sandbox/{name}.db"} for name in ("a", "b")}
    stack(tmp_path, SPEC, targets=targets)
    saved(tmp_path, named("a", "b"))
    assert comment(tmp_path, env(), "--plan", "p.json").code == 0
    firsts = [body.partition("\n")[0] for body in forge.bodies()]
    assert firsts == [marker("acme-live", "a", "b"), marker("acme-live", "elsewhere")]


def test_each_target_can_have_its_own_comment_and_each_stack_has_one(env: Env, forge: Forge, tmp_path: Path) -> None:
    saved(tmp_path, named("prod", "dev"))
    assert comment(tmp_path, env(), "--plan", "p.json").code == 0
    assert comment(tmp_path, env(), "--plan", "p.json", "--comment-per", "target").code == 0
    saved(tmp_path, named("prod", "dev", stack="other"), "other.json")
    assert comment(tmp_path, env(), "--plan", "other.json", "-t", "dev").code == 0
    firsts = [body.partition("\n")[0] for body in forge.bodies()]
    assert firsts == [marker("acme-live", "prod"), marker("acme-live", "dev"), marker("other", "dev")]
    unknown = comment(tmp_path, env(), "--plan", "p.json", "-t", "stage")
    assert (unknown.code, "its targets are prod, dev" in unknown.err) == (1, True)
    issue = comment(tmp_path, env(), "--plan", "p.json", "--issue", "--comment-per", "project")
    assert (issue.code, "an issue for each target" in issue.err) == (1, True)


def test_a_comment_of_real_targets_shows_the_same_change_once_and_who_would_be_refused(
    env: Env, forge: Forge, tmp_path: Path
) -> None:
    targets = {
        name: {"region": "us-west-2", "sandbox": f".sandbox/{name}.db", "prune": name != "us"}
        for name in ("eu", "ap", "us")
    }
    folder = stack(
        repository(tmp_path / "repo"), {"channels": {f"cam-{number}": {} for number in range(8)}}, targets=targets
    )
    (folder / ".gitignore").write_text(".sandbox/\n.ivs-reconciler/\n*.json\n", encoding="utf-8")
    assert run(folder, "apply", "--auto-approve").code == 0
    commit(folder)
    # The commit that drops channels also lifts the limits: those of the base hold.
    content = (folder / "ivs-reconciler.yaml").read_text(encoding="utf-8")
    (folder / "ivs-reconciler.yaml").write_text(
        f"{content}guardrails: {{maxDeletes: 99, maxDeletePercent: 100}}\n", encoding="utf-8"
    )
    rewrite(folder, {"channels": {f"cam-{number}": {"latencyMode": "NORMAL"} for number in range(4)}})
    forge.heads[12] = head = commit(folder)
    assert run(folder, "plan", "--base", "HEAD~1", "--out", "p.json").code == 3
    assert comment(folder, env(head=head), "--plan", "p.json", "--status").code == 0
    (body,) = forge.bodies()
    assert "**An apply of `eu` and `ap` would be refused:**" in body
    assert body.count("<code>4 channels</code> will be updated in place") == 1
    assert "### All 3 targets" in body
    assert "### `eu` and `ap`" in body
    assert body.count("\n- channel/cam-4: ") == 1
    assert "Orphaned, kept because prune is disabled" in body
    states = {one.get("context", one.get("name")): one.get("state", one.get("status")) for one in forge.statuses[head]}
    assert [states[f"ivs-reconciler/acme-live/{name}"] for name in ("eu", "ap", "us")] == (
        ["failure", "failure", "success"] if env().get("GITHUB_ACTIONS") else ["failed", "failed", "success"]
    )


def test_a_plan_that_became_empty_says_so_and_one_that_always_was_says_nothing(
    env: Env, forge: Forge, tmp_path: Path
) -> None:
    saved(tmp_path, a_plan(a_target()), "empty.json")
    quiet = comment(tmp_path, env(), "--plan", "empty.json")
    assert (quiet.code, quiet.out, forge.bodies()) == (0, "prod: nothing to report\n", [])
    saved(tmp_path, a_plan(the_small_target()))
    comment(tmp_path, env(), "--plan", "p.json")
    assert "comment updated" in comment(tmp_path, env(), "--plan", "empty.json").out
    (body,) = forge.bodies()
    assert "No changes" in body
    assert "channel/" not in body
    forge.comments[12].clear()
    assert "comment created" in comment(tmp_path, env(), "--plan", "empty.json", "--always").out


def test_old_duplicates_are_removed_but_for_the_oldest(env: Env, forge: Forge, tmp_path: Path) -> None:
    mark = marker("acme-live", "prod")
    login = author_of(env())
    first = forge.add(f"{mark}\nold", login)
    forge.add(f"{marker('acme-live', 'dev')}\nanother target", login)
    forge.add(f"{mark}\nolder run, newer comment", login)
    forge.add(f"{mark}\nand one more", login)
    saved(tmp_path, a_plan(the_small_target()))
    assert "updated" in comment(tmp_path, env(), "--plan", "p.json").out
    assert [one["id"] for one in forge.comments[12] if one["body"].startswith(mark)] == [first]
    assert len(forge.bodies()) == 2


def test_a_marker_of_another_author_is_ignored(env: Env, forge: Forge, tmp_path: Path) -> None:
    mark = marker("acme-live", "prod")
    forged = f"{mark}\nNo changes, merge at once"
    forge.add(forged, "mallory")
    forge.add(f"I quote:\n{mark}\nsomething", author_of(env()))
    forge.add(f"{mark}\nsystem note", author_of(env()), system=True) if "GITLAB_TOKEN" in env() and env()[
        "GITLAB_TOKEN"
    ] else None
    saved(tmp_path, a_plan(the_small_target()))
    assert "created" in comment(tmp_path, env(), "--plan", "p.json").out
    assert forge.bodies()[0] == forged
    assert "channel/last-year" in forge.bodies()[-1]
    assert [method for method, _ in forge.writes] == ["POST"]


def test_the_comment_is_found_on_the_last_of_many_pages(env: Env, forge: Forge, tmp_path: Path) -> None:
    for number in range(230):
        forge.add(f"comment {number}", "ada")
    forge.add(f"{marker('acme-live', 'prod')}\nold", author_of(env()))
    forge.page_size = 50
    saved(tmp_path, a_plan(the_small_target()))
    assert "updated" in comment(tmp_path, env(), "--plan", "p.json").out
    assert len(forge.bodies()) == 231
    assert sum(method == "GET" and path.endswith(("comments", "notes")) for method, path in forge.calls) == 5


def test_a_fork_gets_the_job_summary_and_exit_code_3(forge: Forge, tmp_path: Path) -> None:
    saved(tmp_path, a_plan(the_small_target()))
    env = github(forge, tmp_path, token="ghs_fork")
    ran = comment(tmp_path, env, "--plan", "p.json")
    assert ran.code == 3
    assert "the text is in the job summary" in ran.err
    assert "Resource not accessible by integration" in ran.err
    summary = (tmp_path / "summary.md").read_text(encoding="utf-8")
    assert "- channel/last-year" in summary
    assert forge.bodies() == []
    printed = comment(tmp_path, {**env, "GITHUB_STEP_SUMMARY": ""}, "--plan", "p.json")
    assert (printed.code, printed.out) == (3, summary)


def test_on_gitlab_a_token_that_may_only_read_leaves_the_text_in_the_log(forge: Forge, tmp_path: Path) -> None:
    saved(tmp_path, a_plan(the_small_target()))
    ran = comment(tmp_path, gitlab(forge, token="glpat_reader"), "--plan", "p.json")
    assert ran.code == 3
    assert "- channel/last-year" in ran.out


def test_findings_about_an_older_commit_do_not_replace_newer_ones(env: Env, forge: Forge, tmp_path: Path) -> None:
    saved(tmp_path, a_plan(the_small_target()))
    forge.heads[12] = "f" * 40
    ran = comment(tmp_path, env(), "--plan", "p.json")
    assert ran.code == 0
    assert "is at " + "f" * 40 in ran.out
    assert forge.writes == []


def test_a_plan_of_another_commit_is_not_posted(env: Env, forge: Forge, tmp_path: Path) -> None:
    """As with ``pull_request_target``, whose checkout is the base: a status would call a head good that was never planned."""
    folder = stack(repository(tmp_path / "repo"), SPEC)
    main = commit(folder)
    forge.parents[main] = [BASE]
    for words in (("--status",), ("--diff", "HEAD..HEAD", "--status", "--always")):
        ran = comment(folder, env(), *words)
        assert ran.code == 1
        assert f"the plan was made from commit {main}, which does not contain {HEAD}" in ran.err
        assert "check out the request before plan" in ran.err
    del forge.parents[main]  # a commit that the forge does not have
    assert comment(folder, env(), "--status").code == 1
    assert (forge.writes, forge.statuses) == ([], {})


def test_a_merge_made_in_the_clone_is_a_plan_of_its_head(env: Env, forge: Forge, tmp_path: Path) -> None:
    folder = stack(repository(tmp_path / "repo"), SPEC)
    head = commit(folder)
    git(folder, "switch", "-qc", "main2")
    rewrite(folder, {"channels": {"one": {}, "three": {}}})
    commit(folder)
    git(folder, "merge", "-q", "--no-edit", head)
    forge.heads[12] = head
    ran = comment(folder, env(head=head), "--status")
    assert ran.code == 0, ran.err
    assert list(forge.statuses) == [head]


def test_a_comment_starts_a_preview_of_the_newest_commit(forge: Forge, tmp_path: Path) -> None:
    """The event ``issue_comment`` names the request, but GITHUB_SHA is the newest commit of the default branch."""
    folder = stack(repository(tmp_path / "repo"), SPEC)
    planned = commit(folder)
    event = {"issue": {"number": 12, "pull_request": {"url": f"{forge.url}/repos/acme/video/pulls/12"}}}
    environment = github(forge, tmp_path, event=event)
    refused = comment(folder, environment, "--status")
    assert (refused.code, "issue_comment" in refused.err, forge.writes) == (1, True, [])
    forge.parents[planned] = [BASE, HEAD]
    ran = comment(folder, environment, "--status")
    assert (ran.code, "comment created" in ran.out, list(forge.statuses)) == (0, True, [HEAD])


@pytest.mark.parametrize(
    ("listed", "number"),
    [
        ([{"number": 7, "base": {"repo": {"id": 2}}}, {"number": 12, "base": {"repo": {"id": 1}}}], 12),
        ([{"number": 7, "base": {"repo": {"id": 2}}}], None),
        ([{"number": 7}, "x", None], None),
        ([], None),
    ],
    ids=["another repository first", "another repository", "odd", "of a fork"],
)
def test_a_run_of_another_repositorys_request_posts_nowhere_else(
    forge: Forge, tmp_path: Path, listed: list[object], number: int | None
) -> None:
    saved(tmp_path, a_plan(the_small_target())._replace(git_commit=None))
    forge.comments[7], forge.heads[7] = [], HEAD
    event = {"repository": {"id": 1}, "workflow_run": {"head_sha": HEAD, "pull_requests": listed}}
    ran = comment(tmp_path, github(forge, tmp_path, event=event), "--plan", "p.json")
    assert ran.code == 0, ran.err
    assert (len(forge.bodies(12)), forge.bodies(7)) == (1 if number else 0, [])
    assert number or f"no pull or merge request contains commit {HEAD}" in ran.out


@pytest.mark.parametrize("issue", [False, True])
def test_the_token_of_an_app_keeps_one_comment(forge: Forge, tmp_path: Path, issue: bool) -> None:
    """An app cannot read its user: whose comment is ours shows the answer to what it writes."""
    environment, words = github(forge, tmp_path, token="ghs_app"), ["--plan", "p.json", *(["--issue"] if issue else [])]
    mark = marker("acme-live", "prod")
    forge.add(f"{mark}\nforged", "mallory")
    saved(tmp_path, a_plan(the_small_target()))
    assert "created" in comment(tmp_path, environment, *words).out
    saved(tmp_path, a_plan(a_target(an_action(Verb.DELETE, "channel/last-year"))))
    for _ in range(2):
        ran = comment(tmp_path, environment, *words)
        assert ran.code == 0, ran.err
        posts = forge.issues if issue else forge.comments[12]
        ours = [one for one in posts if one["author"].login == "acme-previews[bot]" and one.get("state") != "closed"]
        assert [one["id"] for one in ours] == [1002]
        assert "- channel/last-year" in ours[0]["body"]
    assert forge.bodies()[0] == f"{mark}\nforged"
    # Told its name, the app writes nothing that it has to remove.
    before = len(forge.writes)
    assert "unchanged" in comment(tmp_path, environment, *words, "--author", "acme-previews[bot]").out
    assert len(forge.writes) == before


def test_a_status_is_set_once(env: Env, forge: Forge, tmp_path: Path) -> None:
    saved(tmp_path, a_plan(the_small_target()))
    assert "status set" in comment(tmp_path, env(), "--plan", "p.json", "--status").out
    (status,) = forge.statuses[HEAD]
    assert status.get("context", status.get("name")) == "ivs-reconciler/acme-live/prod"
    assert status["description"].startswith("3 to create")
    before = len(forge.writes)
    assert "status unchanged" in comment(tmp_path, env(), "--plan", "p.json", "--status").out
    assert len(forge.writes) == before


def test_guardrails_that_would_refuse_the_apply_are_said_and_fail_the_status(
    env: Env, forge: Forge, tmp_path: Path
) -> None:
    folder = stack(tmp_path / "repo", SPEC, target={"prune": True})
    assert run(folder, "apply", "--auto-approve").code == 0
    rewrite(folder, {"channels": {"one": {}}})
    (folder / "more.json").write_text("{}", encoding="utf-8")
    assert comment(folder, env(), "--status").code == 0
    (body,) = forge.bodies()
    assert "**An apply would be refused:**" in body
    assert "--allow-deletes" in body
    (status,) = forge.statuses[HEAD]
    assert status.get("state", status.get("status")) in ("failure", "failed")
    assert comment(folder, env(), "--status", "--allow-deletes", "1").code == 0
    assert "would be refused" not in forge.bodies()[0]


@pytest.mark.parametrize(
    ("status", "message", "code"),
    [
        (401, "token rejected", 1),
        (404, "not found or not visible to the token", 1),
        (422, "failed with status 422 (Validation Failed)", 1),
    ],
)
def test_refusals_say_what_to_do(env: Env, forge: Forge, tmp_path: Path, status: int, message: str, code: int) -> None:
    saved(tmp_path, a_plan(the_small_target()))
    forge.faults.append(Fault("POST", "12", status, message="Validation Failed" if status == 422 else "no"))
    ran = comment(tmp_path, env(), "--plan", "p.json")
    assert ran.code == code
    assert message in ran.err


def test_a_request_that_is_not_there_is_said(env: Env, forge: Forge, tmp_path: Path) -> None:
    saved(tmp_path, a_plan(the_small_target()))
    ran = comment(tmp_path, env(number=13), "--plan", "p.json")
    assert (ran.code, "check repository and number" in ran.err) == (1, True)


def test_a_forge_that_asks_to_wait_is_waited_for(env: Env, forge: Forge, tmp_path: Path) -> None:
    github_run = bool(env().get("GITHUB_ACTIONS"))
    forge.faults.append(
        Fault(
            "POST",
            "12",
            403 if github_run else 429,
            {"Retry-After": "1"},
            "You have exceeded a secondary rate limit. Please wait a few minutes before you try again.",
        )
    )
    saved(tmp_path, a_plan(the_small_target()))
    assert "created" in comment(tmp_path, env(), "--plan", "p.json").out
    assert len(forge.bodies()) == 1


def test_a_wait_without_reason_is_not_waited_for(env: Env, forge: Forge, tmp_path: Path) -> None:
    forge.faults.append(Fault("GET", "12", 429, {"Retry-After": "86400"}, "slow down", times=9))
    saved(tmp_path, a_plan(the_small_target()))
    ran = comment(tmp_path, env(), "--plan", "p.json")
    assert ran.code == 1
    assert "rate limited for longer than the maximum wait" in ran.err


def test_a_plan_of_500_resources_keeps_every_destructive_line(env: Env, forge: Forge, tmp_path: Path) -> None:
    long = "-and-a-name-that-goes-on"
    gone = [an_action(Verb.DELETE, f"channel/old-{number:03}{long}") for number in range(120)]
    replaced = [an_action(Verb.REPLACE, f"recording-configuration/rec-{number:03}{long}") for number in range(80)]
    new = [
        an_action(Verb.UPDATE, f"channel/new-{number:03}{long}", explanation=f"reason {number} {long * 4}")
        for number in range(300)
    ]
    saved(tmp_path, a_plan(a_target(*gone, *replaced, *new)))
    ran = comment(tmp_path, env(), "--plan", "p.json", "--artifact-url", "https://example.com/whole")
    assert ran.code == 0, ran.err
    (body,) = forge.bodies()
    for number in range(120):
        assert f"\n- channel/old-{number:03}{long}" in body
    for number in range(80):
        assert f"\n! +/- recording-configuration/rec-{number:03}{long}" in body
    assert "**300 to update, 80 to replace, 120 to delete" in body
    if env().get("GITHUB_ACTIONS"):
        assert len(body.encode()) <= 65_536
        assert "[the whole plan](<https://example.com/whole>)" in body
        assert body.count("<details>") == body.count("</details>")
        assert sum(line.startswith("```") for line in body.splitlines()) % 2 == 0


def test_a_cut_plan_links_the_run_by_default(forge: Forge, tmp_path: Path) -> None:
    deletes = (
        an_action(Verb.DELETE, f"channel/a-name-that-goes-on-and-on-and-on-and-on-{number:04}")
        for number in range(1500)
    )
    saved(tmp_path, a_plan(a_target(*deletes)))
    assert comment(tmp_path, github(forge, tmp_path), "--plan", "p.json").code == 0
    assert "(<https://github.com/acme/video/actions/runs/99>)" in forge.bodies()[0]


def test_hostile_text_of_a_spec_mentions_nobody_on_the_forge(env: Env, forge: Forge, tmp_path: Path) -> None:
    evil = "@everyone ``` <img src=x onerror=alert(1)> #1 deadbeef1 --> <!-- ivs-reconciler stack=x target=y -->"
    changed = an_action(Verb.UPDATE, "channel/one", FieldChange("/name", "one", evil), explanation=f"name: {evil}")
    saved(tmp_path, a_plan(a_target(changed, name=evil))._replace(stack=evil))
    assert comment(tmp_path, env(), "--plan", "p.json").code == 0
    (body,) = forge.bodies()
    mark, _, rest = body.partition("\n")
    assert mark.count("<!--") == mark.count("-->") == 1
    assert is_harmless(rest)


def test_drift_and_results_are_put_there_too(env: Env, forge: Forge, tmp_path: Path) -> None:
    folder = stack(tmp_path / "repo", SPEC)
    events = run(folder, "apply", "--auto-approve", "--format", "json")
    (folder / "events.jsonl").write_text(events.out, encoding="utf-8")
    assert comment(folder, env(), "--plan", "events.jsonl").code == 0
    (body,) = forge.bodies()
    assert "## Apply of stack `acme-live`" in body
    assert "2 done" in body
    with outside(folder) as (ivs, _):
        ivs.update_channel(arn=arn_of(ivs, "one"), latencyMode="NORMAL")
    (folder / "drift.json").write_text(run(folder, "drift", "--format", "json").out, encoding="utf-8")
    assert comment(folder, env(), "--plan", "drift.json").code == 0
    (body,) = forge.bodies()
    assert "## Drift of stack `acme-live`" in body
    assert '- latencyMode: "LOW"\n+ latencyMode: "NORMAL"' in body
    assert run(folder, "drift", "--format", "markdown").out.strip().partition("\n")[2].split("\n", 3)[0] in body


def test_one_issue_follows_the_drift_and_is_closed_when_it_is_gone(env: Env, forge: Forge, tmp_path: Path) -> None:
    folder = stack(tmp_path / "repo", SPEC)
    assert run(folder, "apply", "--auto-approve").code == 0

    def nightly() -> str:
        (folder / "drift.json").write_text(run(folder, "drift", "--format", "json").out, encoding="utf-8")
        ran = comment(folder, env(), "--issue", "--plan", "drift.json")
        assert ran.code == 0, ran.err
        return ran.out

    assert nightly() == "dev: nothing to report\n"
    with outside(folder) as (ivs, _):
        ivs.update_channel(arn=arn_of(ivs, "one"), latencyMode="NORMAL")
    assert "issue created" in nightly()
    assert "issue unchanged" in nightly()
    with outside(folder) as (ivs, _):
        ivs.update_channel(arn=arn_of(ivs, "two"), authorized=True)
    assert "issue updated" in nightly()
    (issue,) = forge.issues
    assert (issue["title"], issue["labels"], issue["state"]) == ("Drift in acme-live, dev", ["ivs-reconciler"], "open")
    assert "channel/two" in issue["body"]
    partial = run(folder, "drift", "--format", "json").json
    partial["targets"][0] |= {"drifted": False, "findings": [], "unread": ["no result for 2 channels"]}
    (folder / "drift.json").write_text(json.dumps(partial), encoding="utf-8")
    assert (
        comment(folder, env(), "--issue", "--plan", "drift.json").out
        == "dev: unchanged, because the report is partial\n"
    )
    (folder / "drift.json").write_text(
        run(folder, "drift", "--exclude", "channel/*", "--format", "json").out, encoding="utf-8"
    )
    assert (
        comment(folder, env(), "--issue", "--plan", "drift.json").out
        == "dev: unchanged, because the report is partial\n"
    )
    assert issue["state"] == "open"
    assert run(folder, "apply", "--auto-approve").code == 0
    assert "issue closed" in nightly()
    assert issue["state"] == "closed"
    assert "No drift" in issue["body"]
    assert nightly() == "dev: nothing to report\n"


def test_a_difference_is_commented_without_credentials(env: Env, forge: Forge, tmp_path: Path) -> None:
    folder = stack(repository(tmp_path / "repo"), SPEC)
    first = commit(folder)
    rewrite(folder, {"channels": {"one": {}, "three": {}}})
    forge.parents[commit(folder)] = [BASE, HEAD]
    assert comment(folder, env(), "--diff", f"{first}..HEAD").code == 0
    (body,) = forge.bodies()
    assert "## Comparison for stack `acme-live`" in body
    assert "channel/three" in body
    assert "Orphaned" in body
    assert f"Compared with: `{first}`" in body


def test_after_the_merge_the_request_is_found_by_its_commit(env: Env, forge: Forge, tmp_path: Path) -> None:
    saved(tmp_path, a_plan(the_small_target()))
    merged = "d" * 40
    forge.merged[merged] = 12
    environment = env()
    environment.update(GITHUB_EVENT_PATH="", GITHUB_REF="refs/heads/main", GITHUB_SHA=merged) if environment.get(
        "GITHUB_ACTIONS"
    ) else environment.update(CI_MERGE_REQUEST_IID="", CI_MERGE_REQUEST_SOURCE_BRANCH_SHA="", CI_COMMIT_SHA=merged)
    assert "created" in comment(tmp_path, environment, "--plan", "p.json").out
    assert len(forge.bodies()) == 1
    alone = comment(tmp_path, environment, "--plan", "p.json", "--commit", "e" * 40)
    assert (alone.code, "; nothing to comment on" in alone.out) == (0, True)


def test_flags_are_enough_where_no_ci_is(forge: Forge, tmp_path: Path) -> None:
    saved(tmp_path, a_plan(the_small_target()))
    bare = dict.fromkeys(github(forge, tmp_path), "") | {"MY_TOKEN": "ghp_ada"}
    words = (
        "--plan",
        "p.json",
        "--provider",
        "github",
        "--repository",
        "acme/video",
        "--number",
        "12",
        "--api-url",
        forge.url,
        "--token-env",
        "MY_TOKEN",
    )
    assert "created" in comment(tmp_path, bare, *words).out
    assert forge.comments[12][0]["author"].login == "ada"
    for missing, message in (
        (words[:2], "no forge detected"),
        (words[:-2], "no token for github: set GITHUB_TOKEN or GH_TOKEN"),
    ):
        ran = comment(tmp_path, bare, *missing)
        assert (ran.code, message in ran.err) == (1, True)
    broken = comment(tmp_path, bare | {"MY_TOKEN": "ghp_ada\nGH"}, *words)
    assert (broken.code, "contains a line end" in broken.err, "ghp_ada" in broken.err) == (1, True, False)
    unsafe = comment(tmp_path, bare, *words[:-4], "--api-url", "http://forge.example.com", *words[-2:])
    assert (unsafe.code, "https only" in unsafe.err) == (1, True)


def test_a_dry_run_prints_and_calls_no_forge(forge: Forge, tmp_path: Path) -> None:
    saved(tmp_path, a_plan(the_small_target()))
    ran = comment(tmp_path, github(forge, tmp_path, token=""), "--plan", "p.json", "--dry-run")
    assert ran.code == 0
    assert ran.out.startswith("## Plan for stack `acme-live`")
    assert forge.calls == []


@pytest.mark.parametrize(
    "content",
    [
        "",
        "[]",
        "nonsense",
        '{"type": "version"}',
        '{"drifted": true}',
        '{"type": "plan", "plan": []}',
        "{" * 100_000,
        '{"formatVersion": "1.0"}',
    ],
)
def test_a_file_that_is_no_report_is_refused(forge: Forge, tmp_path: Path, content: str) -> None:
    (tmp_path / "p.json").write_text(content, encoding="utf-8")
    ran = comment(tmp_path, github(forge, tmp_path), "--plan", "p.json")
    assert ran.code == 1
    assert "p.json" in ran.err or "plan --out" in ran.err
    assert forge.calls == []


def test_the_plan_file_and_the_comment_name_the_commits(forge: Forge, tmp_path: Path) -> None:
    folder = stack(repository(tmp_path / "repo"), SPEC)
    trial = commit(folder)
    forge.parents[trial] = [BASE, HEAD]
    ran = comment(folder, github(forge, tmp_path))
    assert ran.code == 0
    (body,) = forge.bodies()
    assert f"Planned from: `{trial}`" in body
    assert git(folder, "rev-parse", "HEAD") == trial
    content: Any = json.loads(run(folder, "plan", "--format", "json").out)
    assert content["gitCommit"] == trial


@pytest.mark.parametrize(("provider", "package"), [("github", "github"), ("gitlab", "gitlab")])
def test_a_client_that_is_not_installed_is_said_with_how_to_install_it(
    tmp_path: Path, provider: str, package: str
) -> None:
    saved(tmp_path, a_plan(the_small_target()))
    script = f"import sys; sys.modules[{package!r}] = None; from reconciler.cli.main import main; sys.exit(main())"
    words = [
        "comment",
        "--plan",
        "p.json",
        "--provider",
        provider,
        "--repository",
        "acme/video",
        "--number",
        "12",
        "--token-env",
        "MY_TOKEN",
    ]
    done = subprocess.run(
        [sys.executable, "-c", script, *words],
        cwd=tmp_path,
        env={**os.environ, "MY_TOKEN": "secret"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert done.stderr == (
        f"comment with {provider} needs the package {package}, which is not installed; "
        f'install the extra: pip install "ivs-reconciler[{provider}]"\n'
    )
