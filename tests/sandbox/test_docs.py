"""The page docs/sandbox.md cannot lie: each command in it is run, each Python block executed."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import time
import urllib.request
from importlib.util import find_spec
from pathlib import Path

import pytest

from reconciler.sandbox import Sandbox
from reconciler.sandbox.settings import ASSUMPTIONS
from tests.guide import free_ports
from tests.preloaded import write_program

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "sandbox.md").read_text(encoding="utf-8")
SHELL = re.findall(r"```sh\n(.*?)```", PAGE, re.DOTALL)
PYTHON = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)


def shims(folder: Path) -> None:
    """Put this project's command, and the AWS one, where the page's commands find them."""
    folder.mkdir()
    write_program(folder / "ivs-reconciler")
    write_program(folder / "aws", "awscli")


def wait_for(port: str) -> None:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        try:
            urllib.request.urlopen(f"http://127.0.0.1:{port}/_sandbox/worlds", timeout=60).close()
            return
        except OSError:
            time.sleep(0.05)
    raise AssertionError("the server did not come up")


def test_each_block_with_aws_commands_names_endpoint_region_and_keys() -> None:
    blocks = [block for block in SHELL if re.search(r"\baws [a-z]", block)]
    assert len(blocks) == 4
    with Sandbox(serve=False) as sandbox:
        settings = sandbox.client_settings("http://127.0.0.1:4599")
    assert {block.splitlines()[0] for block in blocks} == {f"export {settings}"}


@pytest.mark.skipif(shutil.which("sh") is None or shutil.which("curl") is None, reason="needs sh and curl")
def test_every_command_of_the_page_runs_in_a_new_shell(tmp_path: Path) -> None:
    # Not imported: it sets AWS_DATA_PATH for its whole process.
    if find_spec("awscli") is None:
        pytest.skip("needs awscli")
    port = next(free_ports())
    shims(tmp_path / "bin")
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith("AWS_")},
        "PATH": f"{tmp_path / 'bin'}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": str(ROOT),
        "AWS_CONFIG_FILE": str(tmp_path / "no-config"),
        "AWS_SHARED_CREDENTIALS_FILE": str(tmp_path / "no-credentials"),
        "AWS_EC2_METADATA_DISABLED": "true",
        "AWS_PAGER": "",
    }
    server_command, *others = [block.replace("4599", port) for block in SHELL]
    assert "sandbox serve" in server_command
    with subprocess.Popen(
        ["sh", "-c", f"exec {server_command}"], cwd=tmp_path, env=environment, stdout=subprocess.PIPE, text=True
    ) as server:
        assert server.stdout is not None
        try:
            wait_for(port)
            server.stdout.readline()
            printed = server.stdout.readline().strip().partition(": ")[2]
            assert printed == others[0].splitlines()[0]
            shown = ""
            for block in others:
                # Our own verbs find the default port by themselves; this one is another.
                own = {} if "export" in block else {"AWS_ENDPOINT_URL_IVS": f"http://127.0.0.1:{port}"}
                done = subprocess.run(
                    ["sh", "-c", f"set -e\n{block}"],
                    cwd=tmp_path,
                    env={**environment, **own},
                    capture_output=True,
                    text=True,
                    timeout=120,
                    check=False,
                )
                assert done.returncode == 0, (block, done.stderr)
                shown += done.stdout
            assert '"user": "arn:aws:iam::123456789012:user/someone-else"' in shown
            assert '"chosen": "validation"' in shown
            assert "[]" in shown.splitlines(), "the recorded calls, after reset"
        finally:
            server.terminate()
            assert server.wait(60) == 0


@pytest.mark.parametrize("block", PYTHON)
def test_every_python_block_of_the_page_runs(block: str) -> None:
    exec(compile(block, "docs/sandbox.md", "exec"), {})


def test_the_page_names_every_verb_option_and_effect() -> None:
    from reconciler.cli import options as of_all
    from reconciler.cli import sandbox

    shown = subprocess.run(
        [sys.executable, "-m", "reconciler.cli.sandbox", "sandbox", "--help"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    names = re.findall(r"^    ([a-z]+) ", shown, re.MULTILINE)
    assert len(names) >= 12
    for name in names:
        assert f"sandbox {name}" in PAGE or f"`{name}`" in PAGE, name
    options = subprocess.run(
        [sys.executable, "-m", "reconciler.cli.sandbox", "sandbox", "serve", "--help"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    for option in (
        set(re.findall(r"--[a-z-]+", options))
        - set(re.findall(r"--[a-z-]+", of_all.global_options().format_help()))
        - {"--help"}
    ):
        assert option in PAGE, option
    for effect in sandbox.EFFECTS:
        assert f"`{effect}`" in PAGE
    for name, assumption in ASSUMPTIONS.items():
        (row,) = re.findall(rf"^\|.*\| (`{name}`.*) \|$", PAGE, re.MULTILINE)
        for option in assumption.options[1:]:
            assert f"`{option}`" in row, (name, option)
