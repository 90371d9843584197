"""Allowances by labels: who set a label, on which request and when decides whether it counts."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.cli.support import Ran, rewrite, run, stack
from tests.controller.git import commit, git, repository
from tests.forge.forge import Asked, Forge, Labelled
from tests.forge.runs import github, gitlab

A, BEFORE, AFTER = "ivs-reconciler-allow: ", "2026-11-01T10:00:00Z", "2026-11-03T10:00:00Z"
MERGED = "2026-11-02T10:00:00Z"

Env = Callable[..., dict[str, str]]


@pytest.fixture(params=["github", "gitlab"])
def env(request: pytest.FixtureRequest, forge: Forge, tmp_path: Path) -> Env:
    """Give what makes the environment of a run for a request, or of one for a push; on either forge."""

    def make(head: str, *, push: bool = False) -> dict[str, str]:
        if request.param == "github":
            made = github(forge, tmp_path, head=head, event={"after": head} if push else None)
            return {**made, "GITHUB_SHA": head, "GITHUB_REF": "refs/heads/main"} if push else made
        made = gitlab(forge, head=head) | {"CI_COMMIT_SHA": head}
        # A branch that is itself the source of a request that is open has its number.
        gone = dict.fromkeys(("IID", "PROJECT_ID", "SOURCE_BRANCH_SHA", "DIFF_BASE_SHA"), "")
        cleared = {f"CI_MERGE_REQUEST_{name}": value for name, value in gone.items()}
        return made | cleared | {"CI_PROJECT_ID": "77", "CI_OPEN_MERGE_REQUESTS": "acme/video!12"} if push else made

    return make


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A clone where a branch drops three of four applied channels; the last commit of it is checked out."""
    channels: dict[str, object] = {f"cam-{number}": {} for number in range(4)}
    made = stack(repository(tmp_path / "repo"), {"channels": channels})
    (made / ".gitignore").write_text(".sandbox/\n.ivs-reconciler/\n*.json\n*.applied\n", encoding="utf-8")
    assert run(made, "apply", "--auto-approve").code == 0
    commit(made)
    git(made, "checkout", "-q", "-b", "side")
    rewrite(made, {"channels": {"cam-0": {}}})
    message = "Fewer cameras\n\nIvs-Reconciler-Allow: deletes 99\nivs-reconciler-allow: prune"
    git(made, "commit", "-q", "-a", "-m", message)
    return made


def plan(folder: Path, env: dict[str, str], *words: str) -> tuple[Ran, dict[str, Any]]:
    (folder / "p.json").unlink(missing_ok=True)
    ran = run(folder, "plan", "--allow-by-label", "--out", "p.json", *words, env=env)
    options: dict[str, Any] = dict.fromkeys(("allowDeletes", "allowUpdates"))
    options |= dict.fromkeys(("prune", "allowEmpty", "allowMissing"), False)
    if (folder / "p.json").exists():
        options |= json.loads((folder / "p.json").read_text(encoding="utf-8"))["options"]
    return ran, options


def test_labels_of_a_reviewer_count_and_no_others(env: Env, forge: Forge, folder: Path) -> None:
    forge.heads[12] = head = git(folder, "rev-parse", "HEAD")
    # The default guardrails refuse it with any commit message.
    ran, options = plan(folder, env(head), "--prune")
    assert (ran.code, options["allowDeletes"], "ignored" in ran.err) == (3, None, False)
    forge.asked[12] = Asked(
        labels=[
            Labelled(A + "deletes 3", "bea"),
            Labelled("Ivs-Reconciler-Allow:: PRUNE", "bea"),
            Labelled(A + "deletes 50", "ada"),
            Labelled(A + "updates 50", "project_77_bot_1f", bot=True),
            Labelled(A + "updates 60", "bea", removed=True),
            Labelled(A + "deletes", "bea"),
            Labelled(A + "empty", "bea"),
            Labelled(A + "deletes -1", "bea"),
            Labelled(A + "deletes 0", "bea"),
            Labelled(A + "deletes \u0662", "bea"),
            Labelled(A + "deletes 9 --prune", "bea"),
            Labelled("bug", "bea"),
            Labelled("allow: deletes 70", "bea"),
        ]
    )
    ran, options = plan(folder, env(head))
    assert ran.code == 0, ran.err
    assert (options["allowDeletes"], options["allowUpdates"], options["prune"]) == (3, None, True)
    assert (options["allowEmpty"], options["allowMissing"]) == (False, False)
    notes = [line.removeprefix("note: ") for line in ran.err.splitlines() if line.startswith("note: ")]
    assert notes[:4] == [
        f"--allow-deletes 3 by label '{A}deletes 3' of request 12, set by bea",
        "--prune by label 'Ivs-Reconciler-Allow:: PRUNE' of request 12, set by bea",
        f"label '{A}deletes 50' of request 12 is ignored: ada, who opened the request, set it",
        f"label '{A}updates 50' of request 12 is ignored: no person set it (project_77_bot_1f)",
    ]
    assert [note.endswith("it is not deletes N, updates N or prune") for note in notes[4:]] == [True] * 6
    # The saved plan has them, so its apply needs nothing.
    shown = run(folder, "show", "p.json").out
    assert "--allow-deletes 3" in shown
    applied = run(folder, "apply", "p.json", "--auto-approve")
    assert (applied.code, "3 done" in applied.out) == (0, True), applied.err


def test_labels_of_another_request_or_of_a_time_after_the_merge_do_not_count(
    env: Env, forge: Forge, folder: Path
) -> None:
    side = git(folder, "rev-parse", "HEAD")
    forge.asked[12] = Asked(labels=[Labelled(A + "deletes 3", "bea", BEFORE), Labelled(A + "prune", "bea", AFTER)])
    # A run for the request, with something else checked out.
    forge.heads[12] = "f" * 40
    ran, options = plan(folder, env("f" * 40))
    assert (options["allowDeletes"], "belongs to no request, and was not merged by one" in ran.err) == (None, True)
    # After the merge: of the merge commit only, and of no commit before or after it.
    git(folder, "checkout", "-q", "main")
    git(folder, "merge", "-q", "--no-ff", "-m", "Merge\n\nIvs-Reconciler-Allow: updates 9", "side")
    merge = git(folder, "rev-parse", "HEAD")
    forge.heads[12] = side
    forge.merged[merge] = [12, 15]
    forge.heads[15] = merge
    forge.asked[15] = Asked(labels=[Labelled(A + "deletes 80", "bea", BEFORE)])
    open_still, options = plan(folder, env(merge, push=True))
    assert (options["allowDeletes"], "belongs to no request" in open_still.err) == (None, True)
    forge.asked[12].merged_as, forge.asked[12].merged_at = merge, MERGED
    ran, options = plan(folder, env(merge, push=True))
    assert (options["allowDeletes"], options["allowUpdates"], options["prune"]) == (3, None, False)
    assert "is ignored: it was set after the merge" in ran.err
    (folder / "notes.txt").write_text("later\n", encoding="utf-8")
    git(folder, "add", "-A")
    later = commit(folder)
    forge.merged[later] = 12
    assert plan(folder, env(later, push=True))[1]["allowDeletes"] is None


def test_labels_need_a_forge_and_an_answer(env: Env, forge: Forge, folder: Path) -> None:
    bare = dict.fromkeys(env("a" * 40), "")
    ran, _ = plan(folder, bare)
    assert (ran.code, "--allow-by-label needs GitHub Actions or GitLab CI" in ran.err) == (1, True)
    forge.heads[12] = head = git(folder, "rev-parse", "HEAD")
    environment = env(head)
    tokens = {name: "wrong" for name in ("GITHUB_TOKEN", "GITLAB_TOKEN") if environment.get(name)}
    ran, _ = plan(folder, {**environment, **tokens})
    assert (ran.code, "token rejected" in ran.err, (folder / "p.json").exists()) == (1, True, False)
