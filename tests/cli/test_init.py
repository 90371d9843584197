"""A first repository: from nothing, from answers typed at a terminal, and from what an account has; it validates and plans at once."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from reconciler.sandbox import Sandbox
from tests.cli.at_terminal import at_terminal
from tests.cli.support import ACCOUNT, client, run

OTHER = "210987654321"
NO_ENDPOINT = dict.fromkeys(("AWS_ENDPOINT_URL", "AWS_REGION"), "")


def repository(folder: Path, remote: str = "") -> Path:
    folder.mkdir(parents=True)
    subprocess.run(["git", "init", "--quiet"], cwd=folder, check=True)
    if remote:
        subprocess.run(["git", "remote", "add", "origin", remote], cwd=folder, check=True)
    return folder


def files(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): path.read_text(encoding="utf-8")
        for path in sorted(folder.rglob("*"))
        if path.is_file() and ".git/" not in str(path)
    }


def loaded(text: str) -> Any:
    return yaml.safe_load(text)


SCHEMAS = [f"schemas/{name}.schema.json" for name in ("drift", "events", "outputs", "plan", "project", "spec")]
PLAIN = [".gitignore", "ivs-reconciler.yaml", "keys/README.md", *SCHEMAS, "specs/live.yaml"]


def test_from_nothing_it_validates_plans_and_applies_in_the_sandbox(tmp_path: Path) -> None:
    folder = tmp_path / "My shows!"
    ran = run(tmp_path, "-C", str(folder), "init", "--region", "eu-west-1")
    assert (ran.code, ran.err) == (0, "")
    assert sorted(files(folder)) == sorted(PLAIN)
    assert loaded(files(folder)["ivs-reconciler.yaml"]) == {
        "stack": "My-shows",
        "targets": {"dev": {"region": "eu-west-1", "sandbox": ".sandbox/dev.db"}},
    }
    assert run(folder, "schema", "--check", "schemas").code == 0
    assert run(folder, "validate").out == "dev: 1 resource, no problems\n"
    assert run(folder, "plan", "--detailed-exitcode").code == 2
    assert run(folder, "apply", "--auto-approve").code == 0
    assert run(folder, "plan", "--detailed-exitcode").code == 0
    git = [
        "git",
        "-C",
        str(repository(tmp_path / "other")),
        "--work-tree",
        str(folder),
        "status",
        "--porcelain",
        "-uall",
    ]
    shown = subprocess.run(git, capture_output=True, text=True, check=True).stdout
    assert sorted(line[3:] for line in shown.splitlines()) == sorted(PLAIN)


@pytest.mark.parametrize("name", ["2026", "1e3", "no", "null", "0x1F", "1.5"])
def test_a_folder_whose_name_is_no_text_in_yaml_validates(name: str, tmp_path: Path) -> None:
    folder = tmp_path / name
    assert run(tmp_path, "-C", str(folder), "init", "--region", "us-west-2").code == 0
    assert loaded(files(folder)["ivs-reconciler.yaml"])["stack"] == name
    assert run(folder, "validate").out == "dev: 1 resource, no problems\n"


@pytest.mark.parametrize(
    ("remote", "workflows"),
    [
        (
            "git@github.com:acme/video.git",
            [f".github/workflows/ivs-{name}.yml" for name in ("apply", "drift", "preview")],
        ),
        ("https://user:secret@gitlab.example.com/acme/video.git", [".gitlab-ci.yml"]),
        ("https://git.example.com/acme/github.git", []),
    ],
)
def test_the_workflows_are_those_of_the_forge_and_plan_the_account(
    remote: str, workflows: list[str], tmp_path: Path
) -> None:
    folder = repository(tmp_path / "repo", remote)
    ran = run(folder, "init", "--stack", "acme-live", "--region", "eu-west-1", "--account-id", OTHER)
    assert (ran.code, "secret" in ran.out + ran.err) == (0, False)
    written = files(folder)
    assert sorted(written) == sorted([*PLAIN, *workflows])
    # It names what has to be set, since the files are written with an organisation that does not exist.
    assert (", set the roles" in ran.out, ran.out.splitlines()[-1].startswith("Before the ")) == (bool(workflows),) * 2
    assert loaded(written["ivs-reconciler.yaml"])["targets"]["prod"] == {"region": "eu-west-1", "accountId": OTHER}
    for name in workflows:
        text = written[name]
        assert loaded(text.replace("!reference", ""))
        assert (ACCOUNT in text, "us-west-2" in text) == (False, False)
        assert f"arn:aws:iam::{OTHER}:role/ivs-reconciler-plan" in text
        if name.startswith(".github"):
            steps = [step for job in loaded(text)["jobs"].values() for step in job["steps"] if "with" in step]
            found = {
                step["with"]["command"]: step["with"].get("targets") for step in steps if "command" in step["with"]
            }
            assert {found[command] for command in ("plan", "drift", "diff") if command in found} == {"prod"}
        else:
            assert text.count("-t prod ") == 4
    assert run(folder, "validate").code == 0
    assert run(folder, "plan", "-t", "dev").code == 0


def test_it_overwrites_nothing_and_says_what_is_missing(tmp_path: Path) -> None:
    folder = repository(tmp_path / "repo", "git@github.com:acme/video.git")
    (folder / ".gitignore").write_text("*.log\n.sandbox/\n", encoding="utf-8")
    (folder / "specs").mkdir()
    (folder / "specs" / "own.yaml").write_text("channels: {own: {}}\n", encoding="utf-8")
    before = files(folder)
    ran = run(folder, "init", "--region", "us-west-2")
    assert ran.code == 0
    assert (
        ".gitignore  (exists, not changed; add .ivs-reconciler/ *.plan.json *.plan.json.applied ivs-outputs.env)"
        in ran.out
    )
    assert "No workflows: they plan a real account, and there is none yet" in ran.out
    assert before.items() <= files(folder).items()
    assert "specs/live.yaml" not in files(folder)
    assert run(folder, "validate").code == 0
    again = run(folder, "init", "--region", "us-west-2")
    assert (again.code, again.out) == (1, "")
    assert "ivs-reconciler.yaml: already exists; init writes a first repository and overwrites nothing" in again.err
    inner = folder / "video"
    inner.mkdir()
    ran = run(inner, "init", "--region", "us-west-2", "--account-id", OTHER)
    assert "No workflows: they belong at the root of the repository" in ran.out
    assert sorted(files(inner)) == sorted(PLAIN)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ((), "cannot prompt: no terminal. Add --region VALUE"),
        (("--region", "us-wset-2"), "--region: IVS is not available in 'us-wset-2'; did you mean \"us-west-2\"?"),
        (("--region", "us-west-2", "--account-id", "1"), "--account-id: '1' is not an account id: write 12 digits"),
        (("--region", "us-west-2", "--stack", "a b"), "--stack: 'a b' is not a stack name"),
        (("--region", "us-west-2", "-t", "dev"), "remove --config and --target"),
    ],
)
def test_impossible_values_are_reported_and_nothing_is_written(
    words: tuple[str, ...], said: str, tmp_path: Path
) -> None:
    ran = run(tmp_path, "init", *words)
    assert (ran.code, said in ran.err) == (1, True), ran.err
    assert files(tmp_path) == {}


def test_at_a_terminal_it_prompts_for_values_that_no_option_gives(tmp_path: Path) -> None:
    folder = repository(tmp_path / "repo", "git@gitlab.com:acme/video.git")
    with at_terminal(folder, "init", env=NO_ENDPOINT) as screen:
        screen.until("Name of the stack [repo]: ")
        screen.type("acme-live\n")
        screen.until("AWS region [us-west-2]: ")
        screen.type("eu-west-9\n")
        screen.until("IVS is not available in 'eu-west-9'; did you mean")
        screen.until("AWS region [us-west-2]: ", times=2)
        screen.type("eu-west-1\n")
        screen.until("AWS account id (empty for the sandbox only): ")
        screen.type(f"{OTHER}\n")
        screen.until("Workflows for (github, gitlab, none) [gitlab]: ")
        screen.type("\n")
        screen.until("Export the resources of the account (yes or no) [no]: ")
        screen.type("\n")
        assert screen.end() == 0
    assert sorted(files(folder)) == sorted([*PLAIN, ".gitlab-ci.yml"])
    assert loaded(files(folder)["ivs-reconciler.yaml"])["stack"] == "acme-live"


def test_from_an_account_its_resources_are_written_and_adopted(tmp_path: Path) -> None:
    folder = repository(tmp_path / "repo", "git@github.com:acme/video.git")
    with Sandbox() as sandbox:
        ivs = client(sandbox.endpoint_url)
        ivs.create_channel(name="main", latencyMode="NORMAL", tags={"team": "video"})
        ivs.create_channel(name="theirs", tags={"ivs-reconciler:stack": "other", "ivs-reconciler:id": "x"})
        ivs.create_recording_configuration(name="archive", destinationConfiguration={"s3": {"bucketName": "acme-vod"}})
        env = {
            "AWS_ENDPOINT_URL": sandbox.endpoint_url,
            "AWS_ACCESS_KEY_ID": ACCOUNT,
            "AWS_SECRET_ACCESS_KEY": "any",
            "AWS_EC2_METADATA_DISABLED": "true",
        }
        words = ("init", "--region", "us-west-2", "--stack", "acme-live", "--from-account")
        ran = run(folder, *words, env=env)
        assert (ran.code, ran.err) == (0, "")
        written = files(folder)
        assert loaded(written["ivs-reconciler.yaml"])["targets"]["prod"]["accountId"] == ACCOUNT
        assert "specs/live.yaml" not in written
        assert loaded(written["specs/channels.yaml"]) == {
            "channels": {"main": {"latencyMode": "NORMAL", "tags": {"team": "video"}}}
        }
        assert "adopt.yaml" in written
        assert ".github/workflows/ivs-apply.yml" in written
        assert run(folder, "validate").code == 0
        assert run(folder, "plan", "-t", "dev", env=NO_ENDPOINT).code == 0
        # The commands that it prints do what they say: adopt, and change nothing.
        plan, apply = (line.split() for line in ran.out.splitlines() if line.startswith("  ivs-reconciler "))
        planned = run(folder, *plan[1:], "--format", "json", env=env).json["targets"][0]["summary"]
        assert (planned["adopt"], planned["create"], planned["blocked"]) == (2, 0, 0)
        assert run(folder, *apply[1:], "--auto-approve", env=env).code == 0
        assert run(folder, "plan", "-t", "prod", "--detailed-exitcode", env=env).code == 0
        assert len(ivs.list_channels()["channels"]) == 2
        # A failed read writes nothing.
        failed = run(tmp_path, "-C", "empty", *words, "--account-id", OTHER, env=env)
        assert (failed.code, f"is for account {OTHER}" in failed.err) == (1, True)
        assert not (tmp_path / "empty").exists()
