"""The action, the workflows and the pipelines are checked by their forges' schemas, and the commands in them are run."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.cli.support import arn_of, outside, rewrite, stack

ROOT = Path(__file__).resolve().parents[2]
WORKFLOWS = sorted((ROOT / "examples" / "github").glob("*.yml"))
SCRIPT = ROOT / ".github" / "action" / "run.sh"
SPEC: dict[str, object] = {"channels": {"main": {}, "side": {}}}


def read(path: Path) -> Any:
    return yaml.safe_load(path.read_text(encoding="utf-8"))


@pytest.mark.parametrize(
    ("schema", "path"),
    [
        ("vendor.github-actions", ROOT / "action.yml"),
        *(("vendor.github-workflows", path) for path in [*WORKFLOWS, ROOT / ".github" / "workflows" / "ci.yml"]),
        ("vendor.gitlab-ci", ROOT / "examples" / "gitlab" / ".gitlab-ci.yml"),
    ],
    ids=lambda value: value.name if isinstance(value, Path) else "",
)
def test_a_file_fits_its_forges_schema(schema: str, path: Path) -> None:
    more = ["--data-transform", "gitlab-ci"] if schema == "vendor.gitlab-ci" else []
    done = subprocess.run([sys.executable, "-m", "check_jsonschema", "--builtin-schema", schema, *more, str(path)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_no_expression_stands_in_a_script() -> None:
    steps = read(ROOT / "action.yml")["runs"]["steps"]
    for path in WORKFLOWS:
        steps += [step for job in read(path)["jobs"].values() for step in job["steps"]]
    assert [step["run"] for step in steps if "${{" in step.get("run", "")] == []


def test_workflows_give_only_inputs_that_the_action_has_and_ask_for_few_permissions() -> None:
    inputs = set(read(ROOT / "action.yml")["inputs"])
    for path in WORKFLOWS:
        workflow = read(path)
        assert workflow["permissions"]["contents"] == "read"
        for job in workflow["jobs"].values():
            for step in job["steps"]:
                if step.get("uses", "").startswith("your-organisation/ivs-reconciler"):
                    assert set(step["with"]) <= inputs
                    assert step["with"]["command"] in ("validate", "plan", "diff", "comment", "apply", "drift")


@pytest.mark.parametrize("script", [SCRIPT, ROOT / ".ci" / "run"], ids=lambda path: path.name)
def test_a_script_is_one(script: Path) -> None:
    assert subprocess.run(["bash", "-n", str(script)], capture_output=True, text=True, check=False).stderr == ""


class Runner:
    """Runs the action's script as a job of a forge does, with its files for outputs and the summary."""

    def __init__(self, folder: Path, project: Path) -> None:
        self.folder = folder
        self.project = project
        self.program = folder / "bin" / "ivs-reconciler"
        self.program.parent.mkdir()
        self.program.write_text(f'#!/bin/sh\nexec {sys.executable} -m reconciler "$@"\n', encoding="utf-8")
        self.program.chmod(0o755)

    def __call__(self, command: str, expect: int = 0, **inputs: str) -> tuple[dict[str, str], str]:
        output, summary = self.folder / "output", self.folder / "summary"
        for path in (output, summary):
            path.write_text("", encoding="utf-8")
        env = {name: value for name, value in os.environ.items() if not name.startswith(("GITHUB_", "GITLAB_", "CI_"))}
        env |= {f"IVS_{name.upper()}": value for name, value in inputs.items()}
        env |= {"IVS_COMMAND": command, "IVS_DIRECTORY": str(self.project), "GITHUB_OUTPUT": str(output), "GITHUB_STEP_SUMMARY": str(summary)}
        env |= {"PYTHONPATH": str(ROOT), "PATH": f"{self.program.parent}{os.pathsep}{os.environ['PATH']}"}
        done = subprocess.run(["bash", str(SCRIPT)], cwd=self.folder, env=env, capture_output=True, text=True, timeout=120, check=False)
        assert done.returncode == expect, done.stdout + done.stderr
        outputs = dict(line.split("=", 1) for line in output.read_text(encoding="utf-8").splitlines())
        return outputs, summary.read_text(encoding="utf-8") + done.stderr


@pytest.fixture
def action(tmp_path: Path) -> Runner:
    return Runner(tmp_path, stack(tmp_path / "repo", SPEC))


def test_the_action_goes_the_whole_way(action: Runner) -> None:
    assert action("validate")[0] == {"exit-code": "0", "changes": "false", "report": ""}
    outputs, summary = action("plan", plan_file="p.json", targets="dev")
    assert outputs == {"exit-code": "2", "changes": "true", "report": str(action.folder / "p.json")}
    assert "2 to create" in summary
    assert action("apply", plan_file="p.json")[0]["exit-code"] == "0"
    assert action("plan", plan_file="p.json")[0]["changes"] == "false"
    with outside(action.project) as (ivs, _):
        ivs.update_channel(arn=arn_of(ivs, "main"), latencyMode="NORMAL")
    outputs, summary = action("drift")
    assert (outputs["exit-code"], outputs["changes"]) == ("2", "true")
    assert "latencyMode" in summary
    outputs, summary = action("comment", plan_file=outputs["report"], flags="--dry-run\n")
    assert outputs["exit-code"] == "0"
    assert action("apply")[0]["exit-code"] == "0"
    assert action("drift")[0] == {"exit-code": "0", "changes": "false", "report": str(action.folder / "ivs-reconciler.drift.json")}


def test_the_action_fails_where_the_tool_does(action: Runner) -> None:
    rewrite(action.project, {"channels": {"main": {"latencyMode": "ULTRA"}}})
    assert "ULTRA" in action("validate", expect=1)[1]
    assert action("nonsense", expect=1)[0]["exit-code"] == "1"
    rewrite(action.project, {"channels": {}})
    assert action("plan", targets="nowhere", expect=1)[0]["changes"] == "false"


def test_what_callers_pass_is_never_read_as_a_script(action: Runner) -> None:
    evil = "$(touch pwned); `touch pwned`; \" && touch pwned; '"
    action("plan", plan_file=f"{evil}.json", expect=1, targets=evil, flags=f"{evil}\n--nothing", base=evil)
    assert not list(action.folder.rglob("pwned"))


def test_the_scripts_of_the_gitlab_pipeline_run(action: Runner) -> None:
    pipeline = read(ROOT / "examples" / "gitlab" / ".gitlab-ci.yml")
    git = ["git", "-c", "user.name=t", "-c", "user.email=t@example.com"]
    (action.project / ".gitignore").write_text(".sandbox/\n.ivs-reconciler/\n*.plan.json\n*.applied\ndrift.json\n", encoding="utf-8")
    for words in (["init", "-q"], ["add", "."], ["commit", "-q", "-m", "one"]):
        subprocess.run([*git, *words], cwd=action.project, check=True)
    env = {name: value for name, value in os.environ.items() if not name.startswith(("GITHUB_", "GITLAB_", "CI_"))}
    env |= {"PYTHONPATH": str(ROOT), "PATH": f"{action.program.parent}{os.pathsep}{os.environ['PATH']}"}
    env |= {"AWS_WEB_IDENTITY_TOKEN_FILE": str(action.folder / "token")}
    for job in ("validate", "plan", "apply", "drift"):
        lines = [re.sub(r"(ivs-reconciler comment [^|]*)", r"\1 --dry-run", line) for line in pipeline[job]["script"]]
        done = subprocess.run(
            ["bash", "-c", "set -eo pipefail\n" + "\n".join(lines)], cwd=action.project, env=env, capture_output=True, text=True, timeout=120, check=False
        )
        assert done.returncode == 0, (job, done.stdout, done.stderr)


def test_the_hook_for_commits_names_a_command_that_is_there(action: Runner) -> None:
    (hook,) = read(ROOT / ".pre-commit-hooks.yaml")
    (repo,) = read(ROOT / "examples" / "pre-commit" / ".pre-commit-config.yaml")["repos"]
    assert [one["id"] for one in repo["hooks"]] == [hook["id"]]
    env = {**os.environ, "PYTHONPATH": str(ROOT), "PATH": f"{action.program.parent}{os.pathsep}{os.environ['PATH']}"}
    assert subprocess.run(hook["entry"].split(), cwd=action.project, env=env, capture_output=True, check=False).returncode == 0
    rewrite(action.project, {"channels": {"main": {"nmae": "x"}}})
    assert subprocess.run(hook["entry"].split(), cwd=action.project, env=env, capture_output=True, check=False).returncode == 1
