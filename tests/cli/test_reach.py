"""What the project file of a pull request may reach: paths below the project and loopback, unless the command line says otherwise."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cli.support import REGION, run, stack

SPEC: dict[str, object] = {"channels": {"a": {}}}

OUTSIDE: dict[str, dict[str, object]] = {
    "sandbox above": {"sandbox": "../x.db"},
    "sandbox above, hidden": {"sandbox": ".sandbox/../../x.db"},
    "sandbox beside with the same beginning": {"sandbox": "../repo-two/x.db"},
    "sandbox through a link": {"sandbox": "link/x.db"},
    "sandbox that is a link": {"sandbox": "link.db"},
    "lock above": {"lock": {"file": "../../x"}},
    "lock through a link": {"lock": {"file": "link/x"}},
}


def _everything(folder: Path) -> set[Path]:
    return {path for path in folder.rglob("*") if "repo" not in path.relative_to(folder).parts}


@pytest.mark.parametrize("target", OUTSIDE.values(), ids=OUTSIDE)
def test_a_path_outside_the_project_is_refused_and_nothing_is_written(
    tmp_path: Path, target: dict[str, object]
) -> None:
    folder = stack(tmp_path / "repo", SPEC, target=target)
    (tmp_path / "elsewhere").mkdir()
    (folder / "link").symlink_to(tmp_path / "elsewhere")
    (folder / "link.db").symlink_to(tmp_path / "elsewhere" / "y.db")
    before = _everything(tmp_path)
    for words in (("validate",), ("plan",), ("apply", "--auto-approve"), ("unlock",), ("status",)):
        ran = run(folder, *words)
        assert (ran.code, "is outside the project" in ran.out + ran.err) == (1, True)
    assert _everything(tmp_path) == before


def test_an_absolute_path_is_refused_unless_the_command_line_allows_it(tmp_path: Path) -> None:
    store = tmp_path / "store"
    folder = stack(
        tmp_path / "repo", SPEC, target={"sandbox": str(store / "x.db"), "lock": {"file": "../store/x.lock"}}
    )
    refused = run(folder, "validate")
    assert refused.code == 1
    assert "--allow-path" in refused.err
    assert run(folder, "--allow-path", str(tmp_path / "other"), "plan").code == 1
    for words in (("--allow-path", "../store", "apply", "--auto-approve"), ("plan", "--allow-path", str(store))):
        assert run(folder, *words).code == 0
    assert (store / "x.db").exists()


@pytest.mark.parametrize(
    ("url", "allowed"),
    [
        ("http://example.com", False),
        ("http://10.0.0.1:8080", False),
        ("http://0.0.0.0:8080", False),
        ("http://localhost.example.com", False),
        ("http://169.254.169.254", False),
        ("http://[fe80::1]", False),
        ("http://example.com\\.localhost", False),
        ("http://127.0.0.1:8080", True),
        ("http://localhost:8080", True),
        ("http://[::1]:8080", True),
        ("https://example.com", True),
    ],
)
def test_plain_http_leads_to_this_machine_only(tmp_path: Path, url: str, allowed: bool) -> None:
    folder = stack(tmp_path, SPEC, target={"sandbox": None, "endpointUrl": url, "region": REGION})
    ran = run(folder, "validate")
    assert (ran.code, "unencrypted" in ran.err) == ((0, False) if allowed else (1, True))


@pytest.mark.parametrize("url", ["https://u:CAN/ARY@127.0.0.1:9", "http://u:CANARY@127.0.0.1:9/?x=CANARY"])
def test_an_endpoint_of_the_environment_is_shown_without_its_password(tmp_path: Path, url: str) -> None:
    folder = stack(tmp_path, SPEC, target={"sandbox": None})
    env = {"AWS_ENDPOINT_URL": url, "AWS_ACCESS_KEY_ID": "AKIDEXAMPLE", "AWS_SECRET_ACCESS_KEY": "x"}
    ran = run(folder, "-vv", "plan", env=env)
    assert ran.code == 1
    assert "ARY" not in ran.out + ran.err
