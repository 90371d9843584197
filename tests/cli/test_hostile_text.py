"""Text from AWS that would move a cursor, turn the direction of writing, begin a line of its own, or is no character: harmless in every view, log and file."""

from __future__ import annotations

import contextlib
import io
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from reconciler.cli.main import main
from reconciler.errors import Problem, SpecError
from reconciler.report.ci import code_quality, workflow_commands
from reconciler.sandbox import Sandbox
from reconciler.terminal import sanitize_lines
from tests.cli.hostile import MARK, hostile
from tests.cli.support import ACCOUNT, Ran, client, run, stack

HIDDEN = {chr(code) for code in (*range(0x20), *range(0x7F, 0xA0), 0x202E, 0x2028, 0xD800)} - {"\n"}
SPEC: dict[str, object] = {"channels": {"a": {}, "b": {}}}


@dataclass
class Place:
    """A stack in an account with such names and tags."""

    folder: Path
    sandbox: Sandbox

    def run(self, *words: str) -> Ran:
        """Run the command line in this process, with streams as strict as a pipe's."""
        out, err = (
            io.TextIOWrapper(io.BytesIO(), encoding="utf-8", errors=errors, write_through=True)
            for errors in ("strict", "backslashreplace")
        )
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            code = main(["-C", str(self.folder), *words])
        texts = [stream.buffer.getvalue().decode() for stream in (out, err)]
        for text in texts:
            assert not HIDDEN & set(text), words
            assert not [line for line in text.split("\n") if line.lstrip().startswith("::")], words
        return Ran(code, *texts)


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Place]:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", ACCOUNT)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "any")
    with Sandbox(settle_seconds=0) as sandbox, hostile(sandbox.endpoint_url) as url:
        made = Place(
            stack(tmp_path / "repo", SPEC, target={"sandbox": None, "endpointUrl": url, "rateLimits": "off"}), sandbox
        )
        assert made.run("apply", "--auto-approve").code == 0
        ivs = client(sandbox.endpoint_url)
        for channel in ivs.list_channels()["channels"]:
            ivs.tag_resource(resourceArn=channel["arn"], tags={"note": MARK, f"{MARK}key": "x"})
        ivs.create_channel(name="unmanaged", tags={MARK: MARK, "ivs-reconciler:stack": MARK})
        ivs.create_channel(name="left", tags={"ivs-reconciler:stack": "acme-live", "ivs-reconciler:id": MARK})
        yield made


def test_in_every_view_of_a_plan_and_of_a_saved_one(place: Place) -> None:
    for view in ("text", "json", "markdown", "html"):
        ran = place.run("plan", "--prune", "--format", view)
        assert ran.code == 0, ran.err
        assert "gnp.exe" in ran.out, "the text did not come so far, so nothing was shown"
    assert place.run("plan", "--out", "saved.json").code == 0
    saved = json.loads((place.folder / "saved.json").read_text(encoding="utf-8"))
    assert "\x1b[31mred" in json.dumps(saved, ensure_ascii=False).encode().decode("unicode_escape")
    for view in ("text", "json", "markdown", "html"):
        assert place.run("show", "saved.json", "--format", view).code == 0
    assert json.loads(place.run("show", "saved.json", "--format", "json").out) == saved


def test_in_every_view_of_drift_and_status(place: Place) -> None:
    for view in ("text", "json", "markdown", "html", "junit"):
        ran = place.run("drift", "--format", view)
        assert ran.code == 2
        assert "gnp.exe" in ran.out
    for view in ("text", "json"):
        assert place.run("status", "--format", view).code == 0


@pytest.mark.parametrize("view", ["text", "json"])
@pytest.mark.parametrize("log_format", ["console", "json"])
def test_in_the_report_the_events_and_the_logs_of_an_apply_that_is_refused(
    place: Place, view: str, log_format: str
) -> None:
    for operation in ("UntagResource", "DeleteChannel"):
        place.sandbox.control.add_fault("deny", operation=operation, times=None)
    ran = place.run(
        "-vv",
        "--log-format",
        log_format,
        "apply",
        "--auto-approve",
        "--prune",
        "--allow-deletes",
        "9",
        "--format",
        view,
    )
    assert ran.code == 4
    assert ran.out.count("forged") >= 4
    if view == "json":
        assert [json.loads(line) for line in ran.out.splitlines()][-1]["complete"] is False
    if log_format == "json":
        assert [json.loads(line) for line in ran.err.splitlines()]
    for path in (place.folder / ".ivs-reconciler").iterdir():
        assert not HIDDEN & set(path.read_text(encoding="utf-8"))


def test_in_errors_and_notes_before_anything_is_done(place: Place) -> None:
    place.sandbox.control.add_fault("deny", operation="ListChannels", times=None)
    for verb in ("plan", "drift"):
        ran = place.run(verb)
        assert ran.code == 1
        assert "red\\u0007\\u000a::error::forged\\u000d\\u202egnp.exe" in ran.err


def test_a_process_is_as_strict_and_a_poorer_character_set_ends_nothing(place: Place) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "reconciler", "plan"],
        cwd=place.folder,
        env={**os.environ, "PYTHONIOENCODING": "ascii"},
        capture_output=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert b"\\ufffd" in done.stdout


def test_the_name_of_a_spec_file_cannot_write_a_log_line(tmp_path: Path) -> None:
    folder = stack(tmp_path, {})
    (folder / "specs" / "a\x1b[31m\n::error::forged\udcff.yaml").write_text("channels: [1]\n", encoding="utf-8")
    for words in (
        ["validate"],
        ["validate", "--format", "json"],
        ["validate", "--format", "github"],
        ["validate", "--format", "gitlab"],
        ["plan"],
    ):
        ran = run(folder, *words)
        assert ran.code == 1
        said = ran.out + ran.err
        assert "forged" in said
        assert not HIDDEN & set(said), words
        assert not [line for line in said.split("\n") if line.startswith("::error::forged")]


@pytest.mark.parametrize("name", ["::error::forged.yaml", "x\n::error::forged.yaml", "##[error]forged.yaml"])
def test_a_file_name_is_no_workflow_command(tmp_path: Path, name: str) -> None:
    folder = stack(tmp_path / "re\n::error::po", {"channels": {}}, specs=["*.yaml"])
    (folder / name).write_text("channels: [1]\n", encoding="utf-8")
    calls: tuple[tuple[str, ...], ...] = (
        ("validate",),
        ("plan",),
        ("validate", "--format", "github"),
        ("-C", str(folder), "plan"),
        ("-C", str(folder), "plan", "-t", "none"),
        ("--config", name, "plan"),
        ("--config", str(folder / name), "apply", "--auto-approve"),
        ("-C", str(folder / name), "validate", "--format", "github"),
        ("apply", str(folder / name)),
        ("plan", "--out", str(folder)),
    )
    for words in calls:
        ran = run(folder, *words)
        assert ran.code != 0
        lines = (ran.out + ran.err).splitlines()
        begun = [line for line in lines if line.lstrip().startswith(("::", "##["))]
        if "github" in words:
            assert all(line.startswith(("::error file=", "::warning::")) for line in begun)
            assert len(begun) <= 1
        else:
            assert begun == []


def test_no_text_is_a_command_to_a_build_agent_in_the_middle_of_a_line(tmp_path: Path) -> None:
    """The agents of GitHub (the older syntax) and Azure look for these anywhere in a line."""
    evil = ("##[add-mask]main", "###[error]x", "a ##vso[task.setvariable variable=x]y")
    folder = stack(tmp_path / "repo", {"channels": {f"c{number}": {"type": text} for number, text in enumerate(evil)}})
    (folder / "specs" / f"{evil[0]}.yaml").write_text(f'channels: {{"{evil[2]}": {{}}}}', encoding="utf-8")
    calls = (
        ("plan",),
        *(("validate", "--format", view) for view in ("text", "json", "github", "gitlab")),
        ("plan", "--only", evil[2]),
        ("-t", evil[0], "validate"),
        ("--config", evil[0], "validate"),
        ("apply", evil[1]),
    )
    for words in calls:
        ran = run(folder, *words)
        assert ran.code == 1
        assert not [sign for sign in ("##[", "##vso[") if sign in ran.out + ran.err], words
        if "json" in words:
            assert evil[1] in str(ran.json)


def test_text_of_a_problem_reaches_no_terminal(tmp_path: Path) -> None:
    evil = "\x1b[31m\x9b2J\u202e\n::error::forged"
    problem = Problem(f"specs/a{evil}.yaml:1:1", "", f"what{evil}", f"hint{evil}")
    for text in (
        workflow_commands([problem], [evil]),
        code_quality([problem]),
        sanitize_lines(str(SpecError((problem,)))),
    ):
        assert not HIDDEN & set(text)
        assert not [line for line in text.splitlines() if line.startswith("::error::forged")]
