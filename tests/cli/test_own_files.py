"""Files of ours: read and written as regular files within bounds, with anything that a commit put in their place, and readable by their owner only."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from reconciler.controller.store import Store
from tests.cli.support import run, stack

SPEC: dict[str, object] = {"channels": {"a": {}}}


@pytest.mark.parametrize("kind", ["device", "endless device", "pipe", "outside", "large"])
def test_a_project_file_that_is_no_file_of_the_project_is_refused(tmp_path: Path, kind: str) -> None:
    folder = stack(tmp_path / "repo", SPEC)
    file = folder / "ivs-reconciler.yaml"
    text = file.read_text()
    file.unlink()
    match kind:
        case "device":
            file.symlink_to("/dev/null")
        case "endless device":
            file.symlink_to("/dev/zero")
        case "pipe":
            os.mkfifo(file)
        case "outside":
            (tmp_path / "other.yaml").write_text(text)
            file.symlink_to(tmp_path / "other.yaml")
        case _:
            file.write_text(text + "#" * 2_000_000)
    for words in (("validate",), ("plan",), ("apply", "--auto-approve")):
        ran = run(folder, *words)
        assert ran.code == 1
        assert "ivs-reconciler.yaml: " in ran.err
    assert not (folder / ".sandbox").exists()


def test_a_project_file_that_is_a_link_within_the_project_is_read(tmp_path: Path) -> None:
    folder = stack(tmp_path, SPEC)
    (folder / "ivs-reconciler.yaml").rename(folder / "common.yaml")
    (folder / "ivs-reconciler.yaml").symlink_to("common.yaml")
    assert run(folder, "validate").code == 0


OURS = ("journal-dev.jsonl", "applied-dev.json", ".gitignore")


@pytest.mark.parametrize("name", [*OURS, ""])
def test_a_committed_link_is_not_written_through(tmp_path: Path, name: str) -> None:
    folder = stack(tmp_path / "repo", SPEC)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "file").write_text("")
    own = folder / ".ivs-reconciler"
    if name:
        own.mkdir()
        (own / name).symlink_to(elsewhere / "file")
    else:
        own.symlink_to(elsewhere)
    assert run(folder, "apply", "--auto-approve").code == 0
    assert [path.name for path in elsewhere.iterdir()] == ["file"]
    assert (elsewhere / "file").read_text() == ""


@pytest.mark.parametrize("name", OURS[:2])
@pytest.mark.parametrize("kind", ["device", "pipe"])
def test_a_device_or_a_pipe_in_place_of_a_record_holds_up_nothing(tmp_path: Path, name: str, kind: str) -> None:
    folder = stack(tmp_path / "repo", SPEC)
    own = folder / ".ivs-reconciler"
    own.mkdir()
    if kind == "device":
        (own / name).symlink_to("/dev/zero")
    else:
        os.mkfifo(own / name)
    assert run(folder, "plan").code == 0
    assert run(folder, "apply", "--auto-approve").code == 0


def test_files_with_history_are_their_owners(tmp_path: Path) -> None:
    folder = stack(tmp_path / "repo", SPEC, target={"lock": {"file": "locks/dev.lock"}})
    own = folder / ".ivs-reconciler"
    own.mkdir(mode=0o755)
    (own / "journal-dev.jsonl").write_text("")
    assert run(folder, "plan", "--out", "p.json").code == 0
    assert run(folder, "apply", "p.json", "--auto-approve").code == 0
    modes = {
        str(path.relative_to(folder)): stat.S_IMODE(path.stat().st_mode)
        for path in (own, *own.iterdir(), folder / "locks", folder / "locks" / "dev.lock", folder / "p.json.applied")
    }
    del modes[".ivs-reconciler/.gitignore"]
    assert {path: mode for path, mode in modes.items() if mode & 0o077} == {}
    assert len(modes) >= 5


@pytest.mark.parametrize(("mask", "mode"), [(0o022, 0o644), (0o077, 0o600), (0o027, 0o640)])
def test_a_saved_plan_has_the_permissions_of_the_umask(tmp_path: Path, mask: int, mode: int) -> None:
    folder = stack(tmp_path, SPEC)
    before = os.umask(mask)
    try:
        assert run(folder, "plan", "--out", "p.json").code == 0
    finally:
        os.umask(before)
    assert stat.S_IMODE((folder / "p.json").stat().st_mode) == mode


def test_the_database_of_the_controller_is_its_owners(tmp_path: Path) -> None:
    (tmp_path / "old.db").touch(mode=0o644)
    for name in ("old.db", "new.db"):
        store = Store(tmp_path / name)
        try:
            modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in tmp_path.glob(f"{name}*")}
            assert set(modes.values()) == {0o600}, modes
        finally:
            store.close()
