"""The action, the workflows, the pipeline and the hooks: held against their schemas, and carried out as far as a runner is not needed."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.cli.support import arn_of, outside, rewrite, run, stack
from tests.controller.git import commit, git, repository
from tests.forge.forge import PROJECT, Asked, Forge, Labelled
from tests.forge.runs import github, gitlab
from tests.preloaded import write_program

ROOT = Path(__file__).resolve().parents[2]
ACTION = yaml.safe_load((ROOT / "action.yml").read_text(encoding="utf-8"))
WORKFLOWS = sorted((ROOT / "examples" / "github").glob("*.yml"))
SPEC: dict[str, object] = {"channels": {"one": {}, "two": {}}}


class _Reference(yaml.SafeLoader):
    """Reads GitLab's own tag, which takes a part from elsewhere in the file."""


def _reference(loader: yaml.SafeLoader, node: yaml.SequenceNode) -> list[object]:
    return ["!reference", *loader.construct_sequence(node)]


_Reference.add_constructor("!reference", _reference)
PIPELINE: dict[str, Any] = yaml.load(
    (ROOT / "examples" / "gitlab" / ".gitlab-ci.yml").read_text(encoding="utf-8"), Loader=_Reference
)


@pytest.fixture
def program(tmp_path: Path) -> Path:
    """A folder for the search path that holds the program under the name it is installed by."""
    path = tmp_path / "bin" / "ivs-reconciler"
    path.parent.mkdir()
    write_program(path)
    return path


@pytest.mark.parametrize(
    ("schema", "files", "further"),
    [
        ("vendor.github-workflows", [*WORKFLOWS, ROOT / ".github" / "workflows" / "ci.yml"], ()),
        ("vendor.github-actions", [ROOT / "action.yml"], ()),
        ("vendor.gitlab-ci", [ROOT / "examples" / "gitlab" / ".gitlab-ci.yml"], ("--data-transform", "gitlab-ci")),
    ],
)
def test_each_file_is_what_its_forge_reads(schema: str, files: list[Path], further: tuple[str, ...]) -> None:
    words = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", schema, *further, *map(str, files)]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def steps(path: Path) -> Iterator[dict[str, Any]]:
    for job in yaml.safe_load(path.read_text(encoding="utf-8"))["jobs"].values():
        yield from job["steps"]


def test_the_workflows_use_the_action_as_it_is() -> None:
    seen = set()
    for path in WORKFLOWS:
        for step in steps(path):
            if str(step.get("uses", "")).startswith("your-organisation/ivs-reconciler@"):
                assert set(step["with"]) <= set(ACTION["inputs"]), path.name
                seen.add(step["with"]["command"])
    assert seen == {"validate", "plan", "comment", "summary", "apply", "drift"}


def test_the_workflows_ask_for_no_more_than_they_need() -> None:
    for path in WORKFLOWS:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
        assert content["permissions"] == {"contents": "read"}
        assert "pull_request_target" not in content[True]
        writes = {
            name
            for job in content["jobs"].values()
            for name, level in job.get("permissions", {}).items()
            if level == "write"
        }
        assert writes <= {"id-token", "pull-requests", "statuses", "issues"}
    plan = yaml.safe_load((ROOT / "examples" / "github" / "preview.yml").read_text(encoding="utf-8"))
    assert "permissions" not in plan["jobs"]["compare"]


def test_no_input_is_part_of_a_script() -> None:
    for step in ACTION["runs"]["steps"]:
        assert "${{" not in step.get("run", "")
    for path in WORKFLOWS:
        for step in steps(path):
            assert "${{" not in step.get("run", ""), path.name
    given = {
        match
        for value in ACTION["runs"]["steps"][-1]["env"].values()
        for match in re.findall(r"inputs\.([a-z-]+)", value)
    }
    assert given == set(ACTION["inputs"]) - {"python-version"}
    script = (ROOT / "action" / "run.sh").read_text(encoding="utf-8")
    assert set(re.findall(r"\bIN_[A-Z_]+", script)) == {
        name for name in ACTION["runs"]["steps"][-1]["env"] if name.startswith("IN_")
    }
    assert "eval" not in script


@pytest.mark.parametrize("name", ["action/run.sh", "action/install.sh", "examples/pre-commit/pre-commit"])
def test_the_scripts_can_be_read_and_run(name: str) -> None:
    assert os.access(ROOT / name, os.X_OK)
    shell = "bash" if name.endswith(".sh") else "sh"
    assert subprocess.run([shell, "-n", str(ROOT / name)], capture_output=True, check=False).returncode == 0


class Job:
    """Carries out the steps of a workflow that use the action, as a runner would."""

    def __init__(self, folder: Path, program: Path, env: Mapping[str, str]) -> None:
        self.folder, self.program, self.env = folder, program, dict(env)
        self.output = ""

    def act(self, **inputs: str) -> subprocess.CompletedProcess[str]:
        """Run the action with these inputs, the defaults of action.yml for the others; returns what came of it."""
        context = {
            f"inputs.{name}": str(inputs.get(name.replace("-", "_"), one.get("default", "")))
            for name, one in ACTION["inputs"].items()
        }
        context["inputs.token"] = self.env["GITHUB_TOKEN"]
        step = ACTION["runs"]["steps"][-1]
        env = {
            name: re.sub(r"\$\{\{ ([\w.-]+) \}\}", lambda found: context[found[1]], value)
            for name, value in step["env"].items()
        }
        outputs = self.folder.parent / "outputs"
        outputs.write_text("", encoding="utf-8")
        done = subprocess.run(
            ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", step["run"]],
            cwd=self.folder,
            env={
                **os.environ,
                **self.env,
                **env,
                "GITHUB_ACTION_PATH": str(ROOT),
                "GITHUB_OUTPUT": str(outputs),
                "IVS_RECONCILER": str(self.program),
            },
            capture_output=True,
            text=True,
            timeout=240,
            check=False,
        )
        assert "Traceback" not in done.stdout + done.stderr
        self.output = outputs.read_text(encoding="utf-8")
        return done

    def workflow(self, name: str, job: str, context: Mapping[str, str]) -> list[subprocess.CompletedProcess[str]]:
        """Run the steps of one job of an example that are the action or a script."""
        content = yaml.safe_load((ROOT / "examples" / "github" / name).read_text(encoding="utf-8"))
        done = []
        for step in content["jobs"][job]["steps"]:
            if str(step.get("uses", "")).startswith("your-organisation/ivs-reconciler@"):
                filled = {
                    key.replace("-", "_"): re.sub(r"\$\{\{ ([\w.-]+) \}\}", lambda found: context[found[1]], str(value))
                    for key, value in step["with"].items()
                }
                done.append(self.act(**filled))
            elif "run" in step:
                done.append(
                    subprocess.run(
                        ["bash", "-ec", step["run"]], cwd=self.folder, capture_output=True, text=True, check=False
                    )
                )
        return done


@pytest.fixture
def clone(forge: Forge, tmp_path: Path) -> Path:
    """A clone in which the trial merge of a pull request is checked out, as on a runner."""
    origin = stack(repository(tmp_path / "origin"), {"channels": {"one": {}}})
    (origin / ".gitignore").write_text(".sandbox/\n.ivs-reconciler/\n*.json\n*.applied\n", encoding="utf-8")
    commit(origin)
    git(origin, "checkout", "-q", "-b", "side")
    rewrite(origin, SPEC)
    commit(origin)
    git(origin, "checkout", "-q", "--detach", "main")
    git(origin, "merge", "-q", "--no-ff", "-m", "trial", "side")
    git(origin, "branch", "trial")
    git(origin, "checkout", "-q", "main")
    git(tmp_path, "clone", "-q", str(origin), "clone")
    folder = tmp_path / "clone"
    git(folder, "checkout", "-q", "--detach", "origin/trial")
    forge.heads[12] = git(folder, "rev-parse", "origin/side")
    return folder


def test_a_pull_request_is_validated_planned_and_commented(
    clone: Path, program: Path, forge: Forge, tmp_path: Path
) -> None:
    job = Job(clone, program, github(forge, tmp_path, head=forge.heads[12]))
    done = job.workflow("preview.yml", "plan", {"github.base_ref": "main"})
    assert [one.returncode for one in done] == [0, 0, 0, 0], [one.stderr for one in done]
    content = json.loads((clone / "plan.json").read_text(encoding="utf-8"))
    assert content["base"] == {"name": "origin/main", "commit": git(clone, "rev-parse", "origin/main")}
    (body,) = forge.bodies()
    assert "channel/two" in body
    assert "channel/two" in (tmp_path / "summary.md").read_text(encoding="utf-8")
    assert list(forge.statuses) == [forge.heads[12]]


def test_a_plan_that_a_guardrail_refuses_fails_the_step_and_is_commented_all_the_same(
    clone: Path, program: Path, forge: Forge, tmp_path: Path
) -> None:
    job = Job(clone, program, github(forge, tmp_path, head=forge.heads[12]))
    assert run(clone, "apply", "--auto-approve").code == 0
    rewrite(clone, {})
    planned, commented = (
        job.act(command="plan", arguments="--prune"),
        job.act(command="comment", arguments="--prune\n--status"),
    )
    assert (planned.returncode, commented.returncode) == (3, 0), planned.stderr + commented.stderr
    assert "would be refused" in forge.bodies()[0]


def test_a_fork_gets_the_difference_in_the_summary_and_the_job_continues(
    clone: Path, program: Path, forge: Forge, tmp_path: Path
) -> None:
    job = Job(clone, program, github(forge, tmp_path, token="ghs_fork", head=forge.heads[12]))
    done = job.workflow("preview.yml", "compare", {"github.base_ref": "main"})
    assert [one.returncode for one in done] == [0, 0], [one.stderr for one in done]
    assert "exit-code=3" in job.output
    assert "::warning::" in done[1].stdout
    assert "channel/two" in (tmp_path / "summary.md").read_text(encoding="utf-8")
    assert forge.bodies() == []


def test_what_is_merged_is_applied_once_and_not_when_main_moved(
    clone: Path, program: Path, forge: Forge, tmp_path: Path
) -> None:
    origin = tmp_path / "origin"
    git(origin, "merge", "-q", "--squash", "side")
    merged = commit(origin)
    git(clone, "fetch", "-q")
    git(clone, "checkout", "-q", "--detach", "origin/main")
    job = Job(clone, program, github(forge, tmp_path, event={}))
    planned = job.act(command="plan", base="origin/main", report_file="plan.json")
    assert planned.returncode == 0
    assert "changes=true" in job.output
    (origin / "notes.txt").write_text("newer\n", encoding="utf-8")
    merged = commit(origin)
    git(clone, "fetch", "-q")
    late = job.act(command="apply", report_file="plan.json")
    assert late.returncode == 3
    assert "  base: origin/main is at " in late.stderr
    git(clone, "checkout", "-q", "--detach", "origin/main")
    forge.merged[merged] = 12
    forge.asked[12] = Asked(
        labels=[Labelled("ivs-reconciler-allow: updates 7", "bea")], merged_as=merged, merged_at="2026-11-02T10:00:00Z"
    )
    (planned,) = job.workflow("apply.yml", "plan", {})
    assert planned.returncode == 0, planned.stderr
    assert json.loads((clone / "plan.json").read_text(encoding="utf-8"))["options"]["allowUpdates"] == 7
    summary = (tmp_path / "summary.md").read_text(encoding="utf-8")
    assert "channel/two" in summary
    assert "--allow-updates 7" in summary
    done = job.workflow("apply.yml", "apply", {})
    assert [one.returncode for one in done] == [0, 0], [one.stderr for one in done]
    assert run(clone, "plan", "--detailed-exitcode").code == 0


def test_a_fleet_is_planned_in_shards_shown_as_one_and_applied_in_shards(
    clone: Path, program: Path, forge: Forge, tmp_path: Path
) -> None:
    job = Job(clone, program, github(forge, tmp_path, head=forge.heads[12]))
    plans = clone / "plans"

    def plan(job: Job, workflow: str, context: Mapping[str, str]) -> list[bool]:
        shutil.rmtree(plans, ignore_errors=True)
        changes = []
        for number in ("1", "2"):
            shard = {"matrix.shard": number, "strategy.job-total": "2"}
            done = job.workflow(workflow, "plan", {**context, **shard})
            assert [one.returncode for one in done] == [0] * len(done), [one.stderr for one in done]
            changes.append("changes=true" in job.output)
            plans.mkdir(exist_ok=True)
            shutil.move(clone / f"plan-{number}.json", plans)
        return changes

    def filled(workflow: str, name: str) -> dict[str, str]:
        content = yaml.safe_load((ROOT / "examples" / "github" / workflow).read_text(encoding="utf-8"))
        inputs = content["jobs"][name]["steps"][-1]["with"]
        return {key.replace("-", "_"): value.replace("${{ matrix.shard }}", "1") for key, value in inputs.items()}

    assert plan(job, "fleet-preview.yml", {"github.base_ref": "main"}) == [True, False]
    assert job.act(**filled("fleet-preview.yml", "comment")).returncode == 0
    (body,) = forge.bodies()
    assert "channel/two" in body
    assert "Shard" not in body
    assert list(forge.statuses) == [forge.heads[12]]

    git(tmp_path / "origin", "merge", "-q", "--squash", "side")
    commit(tmp_path / "origin")
    git(clone, "fetch", "-q")
    git(clone, "checkout", "-q", "--detach", "origin/main")
    job = Job(clone, program, github(forge, tmp_path, event={}))
    assert plan(job, "fleet-apply.yml", {}) == [True, False]
    (plans / "plan-2.json").unlink()  # without changes it is not uploaded
    reviewed = job.act(**filled("fleet-apply.yml", "review"))
    assert (reviewed.returncode, reviewed.stdout) == (0, "")
    assert "1 of 2" in (tmp_path / "summary.md").read_text(encoding="utf-8")
    shutil.move(plans / "plan-1.json", clone)
    applied = job.act(**filled("fleet-apply.yml", "apply"))
    assert applied.returncode == 0, applied.stderr
    assert run(clone, "plan", "--detailed-exitcode").code == 0


def test_the_shards_of_a_fleet_are_applied_by_the_environment_and_stop_no_other() -> None:
    jobs = yaml.safe_load((ROOT / "examples" / "github" / "fleet-apply.yml").read_text(encoding="utf-8"))["jobs"]
    assert [name for name, job in jobs.items() if "environment" in job] == ["apply"]
    assert jobs["plan"]["strategy"] == jobs["apply"]["strategy"]
    assert jobs["apply"]["strategy"]["fail-fast"] is False
    assert jobs["apply"]["needs"] == "review"
    for job in ("plan", "apply"):
        roles = [step["with"]["role-to-assume"] for step in jobs[job]["steps"] if "aws-actions" in str(step)]
        assert [role.rpartition("-")[2] for role in roles] == [job]


def test_the_plan_that_is_approved_is_made_without_the_environment_and_is_the_one_applied() -> None:
    jobs = yaml.safe_load((ROOT / "examples" / "github" / "apply.yml").read_text(encoding="utf-8"))["jobs"]
    planning, applying = jobs["plan"], jobs["apply"]
    assert ("environment" in planning, applying["environment"], applying["needs"]) == (False, "production", "plan")
    assert "write" not in {level for name, level in applying["permissions"].items() if name != "id-token"}
    uses = {name: [step.get("uses", "").partition("@")[0] for step in job["steps"]] for name, job in jobs.items()}
    assert uses["plan"][-1] == "actions/upload-artifact"
    assert uses["apply"][1] == "actions/download-artifact"
    assert planning["steps"][-1]["with"] == {"name": "plan", "path": "plan.json"}
    assert applying["steps"][1]["with"] == {"name": "plan"}
    ours = [step["with"] for step in applying["steps"] if step.get("uses", "").startswith("your-organisation/")]
    assert ours == [{"command": "apply", "base": "origin/main", "report-file": "plan.json"}]
    roles = [
        step["with"]["role-to-assume"] for job in jobs.values() for step in job["steps"] if "aws-actions" in str(step)
    ]
    assert [role.rpartition("-")[2] for role in roles] == ["plan", "apply"]
    assert ("environment" in PIPELINE["plan-main"], PIPELINE["apply"]["environment"]) == (False, "production")
    assert PIPELINE["apply"]["needs"] == ["plan-main"]
    assert PIPELINE["apply"]["rules"][0]["when"] == "manual"
    assert PIPELINE["plan-main"]["variables"] != PIPELINE["apply"]["variables"]
    assert "ivs-reconciler plan" not in scripts("apply")


def test_the_nightly_run_opens_an_issue_and_closes_it(clone: Path, program: Path, forge: Forge, tmp_path: Path) -> None:
    assert run(clone, "apply", "--auto-approve").code == 0
    with outside(clone) as (ivs, _):
        ivs.update_channel(arn=arn_of(ivs, "one"), authorized=True)
    job = Job(clone, program, github(forge, tmp_path, event={}))
    done = job.workflow("drift.yml", "drift", {})
    assert [one.returncode for one in done] == [0, 0], [one.stderr for one in done]
    (issue,) = forge.issues
    assert "channel/one" in issue["body"]
    assert run(clone, "apply", "--auto-approve").code == 0
    job.workflow("drift.yml", "drift", {})
    assert issue["state"] == "closed"


def test_a_target_that_cannot_be_read_does_not_hide_the_others(
    clone: Path, program: Path, forge: Forge, tmp_path: Path
) -> None:
    project = yaml.safe_load((clone / "ivs-reconciler.yaml").read_text(encoding="utf-8"))
    project["targets"]["lost"] = {"region": "eu-west-1", "accountId": "210987654321", "profile": "lost"}
    (clone / "ivs-reconciler.yaml").write_text(yaml.safe_dump(project), encoding="utf-8")
    job = Job(clone, program, github(forge, tmp_path, event={}))
    summary = tmp_path / "summary.md"
    planned = job.act(command="plan", report_file="plan.json")
    assert (planned.returncode, "changes=true" in job.output) == (1, True), planned.stderr
    said = summary.read_text(encoding="utf-8")
    assert "channel/two" in said
    assert "**2 targets: 1 with changes, 1 failed**\n\nFailed:\n\n- `lost`: " in said
    applied = run(clone, "apply", "plan.json", "--auto-approve", "--format", "json")
    assert applied.code == 4, applied.err
    (clone / "apply.json").write_text(applied.out, encoding="utf-8")
    posted = run(clone, "comment", "--dry-run", "--plan", "apply.json").out
    assert "**2 targets: 1 applied, 1 failed**\n\nFailed:\n\n- `lost`: could not be read by plan: " in posted
    assert "\n| `dev` | complete | " in posted
    planned = job.act(command="plan", report_file="plan.json")
    assert (planned.returncode, "changes=false" in job.output) == (1, True)

    with outside(clone) as (ivs, _):
        ivs.update_channel(arn=arn_of(ivs, "one"), authorized=True)
    summary.unlink()
    done = job.workflow("drift.yml", "drift", {})
    assert [one.returncode for one in done] == [1, 0], [one.stderr for one in done]
    (issue,) = forge.issues
    assert "channel/one" in issue["body"]
    assert "- `lost`: " in summary.read_text(encoding="utf-8")
    rewrite(clone, {"channels": {"one": {"latencyMode": "SLOW"}}})
    assert job.act(command="drift", report_file="drift.json").returncode == 1
    assert not (clone / "drift.json").exists()


def test_problems_stand_beside_their_lines(clone: Path, program: Path, forge: Forge, tmp_path: Path) -> None:
    rewrite(clone, {"channels": {"one": {"latencyMode": "SLOW"}}})
    job = Job(clone, program, github(forge, tmp_path))
    done = job.act(command="validate")
    assert done.returncode == 1
    assert done.stdout.startswith("::error file=specs/live.yaml,line=3,col=18::")
    assert job.act(command="nonsense").returncode == 1


@pytest.mark.parametrize("where", ["place", "rest"])
@pytest.mark.parametrize("command", ["validate", "plan", "diff", "comment", "apply", "drift"])
def test_hostile_inputs_run_nothing(
    clone: Path, program: Path, forge: Forge, tmp_path: Path, where: str, command: str
) -> None:
    mark = tmp_path / "ran"
    evil = f'x"; touch {mark}; "$(touch {mark})`touch {mark}` \'; touch {mark} #'
    place = {"directory", "config"}
    names = place if where == "place" else set(ACTION["inputs"]) - place - {"command", "token", "python-version"}
    Job(clone, program, github(forge, tmp_path)).act(
        command=command, **{name.replace("-", "_"): evil for name in names}
    )
    assert not mark.exists()
    assert not list(clone.glob("x*"))


def scripts(job: str) -> str:
    return "\n".join(PIPELINE[job]["script"])


def lab(folder: Path, program: Path, env: Mapping[str, str], job: str) -> subprocess.CompletedProcess[str]:
    path = {"PATH": f"{program.parent}{os.pathsep}{os.environ['PATH']}"}
    words = ["bash", "-eo", "pipefail", "-c", scripts(job)]
    return subprocess.run(
        words, cwd=folder, env={**os.environ, **env, **path}, capture_output=True, text=True, timeout=240, check=False
    )


@pytest.mark.parametrize("job", [name for name, one in PIPELINE.items() if isinstance(one, dict) and "script" in one])
def test_the_scripts_of_the_pipeline_can_be_read(job: str) -> None:
    assert subprocess.run(["bash", "-n", "-c", scripts(job)], capture_output=True, check=False).returncode == 0


def test_a_merge_request_is_validated_planned_and_commented(
    clone: Path, program: Path, forge: Forge, tmp_path: Path
) -> None:
    env = gitlab(forge, head=forge.heads[12]) | {
        "CI_MERGE_REQUEST_DIFF_BASE_SHA": git(clone, "rev-parse", "origin/main")
    }
    for job in ("validate", "plan", "compare"):
        done = lab(clone, program, env, job)
        assert done.returncode == 0, done.stderr
    assert json.loads((clone / "validate.json").read_text(encoding="utf-8")) == []
    (body,) = forge.bodies()
    assert "channel/two" in body
    assert PROJECT == 77
    git(clone, "branch", "-f", "main")
    git(clone, "update-ref", "refs/remotes/origin/main", "HEAD")
    git(clone, "push", "-q", "--force", "origin", "HEAD:refs/heads/elsewhere")
    git(tmp_path / "origin", "checkout", "-q", "--detach")
    git(tmp_path / "origin", "branch", "-f", "main", "elsewhere")
    pushed = env | {"CI_MERGE_REQUEST_IID": "", "CI_MERGE_REQUEST_DIFF_BASE_SHA": "", "CI_DEFAULT_BRANCH": "main"}
    planned = lab(clone, program, pushed, "plan-main")
    assert planned.returncode == 0, planned.stderr
    applied = lab(clone, program, pushed, "apply")
    assert applied.returncode == 0, applied.stderr
    assert lab(clone, program, env, "drift").returncode == 0
    assert forge.issues == []
    rewrite(clone, {"channels": {"one": {"typo": 1}}})
    assert lab(clone, program, env, "validate").returncode == 1
    assert len(json.loads((clone / "validate.json").read_text(encoding="utf-8"))) == 1


def test_the_hook_lets_a_good_spec_through_and_no_bad_one(tmp_path: Path, program: Path) -> None:
    folder = stack(repository(tmp_path / "repo"), SPEC)
    hook = folder / ".git" / "hooks" / "pre-commit"
    hook.write_bytes((ROOT / "examples" / "pre-commit" / "pre-commit").read_bytes())
    hook.chmod(0o755)
    path = f"{program.parent}{os.pathsep}{os.environ['PATH']}"
    git(folder, "add", "-A")
    git(folder, "commit", "-q", "-m", "good", PATH=path)
    rewrite(folder, {"channels": {"one": {"typo": 1}}})
    git(folder, "add", "-A")
    refused = subprocess.run(
        ["git", "-c", "user.name=a", "-c", "user.email=a@example.com", "commit", "-qm", "bad"],
        cwd=folder,
        env={**os.environ, "PATH": path},
        capture_output=True,
        text=True,
        check=False,
    )
    assert refused.returncode != 0
    assert "specs/live.yaml:3:5" in refused.stderr
    git(folder, "checkout", "-q", "HEAD", "--", ".")
    (folder / "readme.txt").write_text("no spec\n", encoding="utf-8")
    git(folder, "add", "-A")
    git(folder, "commit", "-q", "-m", "other", PATH=path)


def test_the_hook_for_pre_commit_runs_what_is_there(tmp_path: Path) -> None:
    (hook,) = yaml.safe_load((ROOT / ".pre-commit-hooks.yaml").read_text(encoding="utf-8"))
    assert set(hook) <= {"id", "name", "description", "entry", "language", "pass_filenames", "files"}
    program, *words = hook["entry"].split()
    assert program == "ivs-reconciler"
    assert run(stack(tmp_path / "repo", SPEC), *words).code == 0
    for name in ("ivs-reconciler.yaml", "specs/a.yml", "keys/web.pem"):
        assert re.search(hook["files"], name)
    example = yaml.safe_load((ROOT / "examples" / "pre-commit" / ".pre-commit-config.yaml").read_text(encoding="utf-8"))
    assert example["repos"][0]["hooks"][0]["id"] == hook["id"]


def test_a_report_that_a_request_contains_is_removed_before_anything_can_fail() -> None:
    """Otherwise a run whose plan is not made posts what the request wrote itself."""
    job = yaml.safe_load((ROOT / "examples" / "github" / "preview.yml").read_text(encoding="utf-8"))["jobs"]["plan"]
    assert [step.get("run") for step in job["steps"]].index("rm -f plan.json") == 1, "after the checkout"
    lines = scripts("plan").splitlines()
    assert lines[0] == "rm -f plan.json"
