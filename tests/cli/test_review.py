"""What a stranger stumbled over while using the command line: folders, full disks, closed streams, odd plan files."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.support import rewrite, run, stack

SPEC: dict[str, object] = {"channels": {"side": {}}}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return stack(tmp_path / "repo", SPEC)


def shell(folder: Path, line: str) -> subprocess.CompletedProcess[str]:
    command = f'"{sys.executable}" -m reconciler {line}'
    return subprocess.run(
        ["/bin/sh", "-c", command], cwd=folder, capture_output=True, text=True, timeout=60, check=False
    )


def test_a_plan_is_saved_in_the_folder_that_the_call_works_in(folder: Path) -> None:
    above = folder.parent
    assert run(above, "-C", "repo", "plan", "--out", "saved.json").code == 0
    assert not (above / "saved.json").exists()
    assert run(above, "-C", "repo", "show", "saved.json").code == 0
    assert run(above, "-C", "repo", "apply", "saved.json", "--auto-approve").code == 0


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no device that is always full")
@pytest.mark.parametrize("verb", ["plan", "plan --format json", "validate"])
def test_output_that_cannot_be_written_is_a_message_and_not_a_traceback(folder: Path, verb: str) -> None:
    done = shell(folder, f"{verb} >/dev/full")
    assert (done.returncode, done.stderr) == (1, "output: no space left on device; make it writable and run again\n")


def test_in_a_log_of_both_streams_a_report_comes_before_the_error_that_it_explains(folder: Path) -> None:
    assert shell(folder, "apply --auto-approve").returncode == 0
    rewrite(folder, {"channels": {}})
    said = shell(folder, "plan --prune 2>&1").stdout
    assert 0 <= said.index("channel/side will be deleted") < said.index("plan refused")


@pytest.mark.parametrize("closed", [">&-", "2>&-", ">&- 2>&-"])
def test_a_closed_stream_raises_nothing(folder: Path, closed: str) -> None:
    done = shell(folder, f"plan --detailed-exitcode {closed}")
    assert done.returncode == 2
    assert "Traceback" not in done.stdout + done.stderr


def test_a_file_nested_without_end_is_not_a_saved_plan(folder: Path) -> None:
    (folder / "deep.json").write_text("[" * 200_000, encoding="utf-8")
    shown = run(folder, "show", "deep.json")
    assert shown.code == 1
    assert "deep.json: not a saved plan" in shown.err


@pytest.mark.parametrize("verb", ["show", "apply --auto-approve", "comment --dry-run --plan"])
def test_a_plan_file_without_end_is_refused_within_bounds(folder: Path, verb: str) -> None:
    (folder / "p.json").symlink_to("/dev/zero")
    done = shell(folder, f"{verb} p.json")
    assert (done.returncode, "p.json: file too large" in done.stderr) == (1, True), done.stderr


def test_a_missing_plan_file_is_named_in_the_words_of_the_other_messages(folder: Path) -> None:
    shown = run(folder, "show", "nowhere.json")
    assert shown.code == 1
    assert "nowhere.json: no such file or directory; pass a file saved by plan --out\n" in shown.err
    for verb in ("apply", "show"):
        named = run(folder, verb, "prod", "--auto-approve" if verb == "apply" else "-v")
        assert (
            "prod: no such file or directory; pass a file saved by plan --out, or -t prod to select a target"
            in named.err
        )


def test_a_count_that_is_none_is_refused_in_words(folder: Path) -> None:
    for text in ("many", "-1", "1.5"):
        refused = run(folder, "plan", f"--allow-deletes={text}")
        assert refused.code == 1
        assert f"'{text}' is not a whole number of 0 or more" in refused.err


def test_the_plan_shows_protection_being_enabled_and_disabled(tmp_path: Path) -> None:
    folder = stack(tmp_path / "repo", {"channels": {"side": {"protect": True}}})
    assert '+ tags.ivs-reconciler:protect  "true"' in run(folder, "apply", "--auto-approve").out
    rewrite(folder, SPEC)
    for view in ("text", "markdown", "html"):
        assert "tags.ivs-reconciler:protect" in run(folder, "plan", "--format", view).out, view
