"""Completion as shells do it: the printed script is loaded by a real shell, which asks for what may follow."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.support import run, stack

SPEC: dict[str, object] = {
    "channels": {"main": {"streamKey": {}}, "cam": {"count": 2}},
    "playbackRestrictionPolicies": {"eu": {}},
}
# What a shell does with the script when the user asks; each prints the line, and what may follow on the next.
ASKING = {
    "bash": """
source <(ivs-reconciler completion bash)
ask() {
  COMP_LINE="$1"; COMP_POINT=${#1}; COMPREPLY=()
  read -ra COMP_WORDS <<<"$1"; [[ $1 == *" " ]] && COMP_WORDS+=(""); COMP_CWORD=$(( ${#COMP_WORDS[@]} - 1 ))
  _python_argcomplete ivs-reconciler "${COMP_WORDS[COMP_CWORD]}"
  printf '%s\\n' "? $1" "${COMPREPLY[@]}"
}
""",
    "zsh": """
autoload -U compinit && compinit -u -D
source <(ivs-reconciler completion zsh)
_describe() { local -a found; found=("${(@P)2}"); print -l -- $found }
ask() { BUFFER="$1"; CURSOR=${#1}; words=(${(z)1}); print -- "? $1"; _python_argcomplete }
""",
    "fish": """
ivs-reconciler completion fish | source
function ask; echo "? $argv"; complete -C "$argv"; end
""",
}
QUIET = {"bash": ["--noprofile", "--norc"], "zsh": ["-f"], "fish": ["--no-config"]}


def asked(shell: str, folder: Path, *lines: str) -> dict[str, list[str]]:
    """Return what a shell offers for each beginning of a line, without descriptions and trailing blanks."""
    script = folder / f"ask.{shell}"
    script.write_text(ASKING[shell] + "".join(f'ask "{line}"\n' for line in lines), encoding="utf-8")
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    done = subprocess.run(
        [shell, *QUIET[shell], str(script)],
        cwd=folder,
        env={**os.environ, "PATH": path, "HOME": str(folder), "TERM": "dumb"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, ""), done.stderr
    found: dict[str, list[str]] = {}
    for line in done.stdout.splitlines():
        if line.startswith("? "):
            offered = found.setdefault(line[2:], [])
        elif line.strip():
            offered.append(line.split("\t")[0].split(":")[0].strip())
    return found


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    other = {"region": "eu-west-1", "sandbox": ".sandbox/prod.db", "specs": ["prod/*.yaml"]}
    dev = {"region": "us-west-2", "sandbox": ".sandbox/dev.db"}
    folder = stack(tmp_path / "repo", SPEC, targets={"dev": dev, "prod": other})
    (folder / "prod").mkdir()
    (folder / "prod" / "more.yaml").write_text("channels: {extra: {}}\n", encoding="utf-8")
    return folder


@pytest.mark.parametrize("shell", ASKING)
def test_a_shell_completes_verbs_options_targets_and_addresses(shell: str, folder: Path) -> None:
    if shutil.which(shell) is None:
        pytest.skip(f"no {shell} on this machine")
    cam = ["channel/cam-0", "channel/cam-1"]
    assert asked(
        shell,
        folder,
        "ivs-reconciler pl",
        "ivs-reconciler sandbox se",
        "ivs-reconciler plan -t ",
        "ivs-reconciler plan --allow-d",
        "ivs-reconciler plan --format m",
        "ivs-reconciler outputs channel/c",
        "ivs-reconciler -t dev outputs channel/e",
        "ivs-reconciler -t prod outputs channel/e",
        "ivs-reconciler rotate stream-key s",
        "ivs-reconciler plan --only play",
    ) == {
        "ivs-reconciler pl": ["plan"],
        "ivs-reconciler sandbox se": ["serve"],
        "ivs-reconciler plan -t ": ["dev", "prod"],
        "ivs-reconciler plan --allow-d": ["--allow-deletes"],
        "ivs-reconciler plan --format m": ["markdown"],
        "ivs-reconciler outputs channel/c": cam,
        "ivs-reconciler -t dev outputs channel/e": [],
        "ivs-reconciler -t prod outputs channel/e": ["channel/extra"],
        "ivs-reconciler rotate stream-key s": ["stream-key/main"],
        "ivs-reconciler plan --only play": ["playback-restriction-policy/eu"],
    }


def test_every_verb_is_offered_and_a_spec_with_problems_offers_no_address(folder: Path) -> None:
    (folder / "specs" / "live.yaml").write_text("channels: {main: {type: HUGE}}\n", encoding="utf-8")
    found = asked("bash", folder, "ivs-reconciler ", "ivs-reconciler outputs ", "ivs-reconciler plan -t ")
    listed = run(folder, "--help").out
    assert len(found["ivs-reconciler "]) > 15
    assert all(f"    {verb} " in listed for verb in found["ivs-reconciler "])
    assert found["ivs-reconciler outputs "] == []
    assert found["ivs-reconciler plan -t "] == ["dev", "prod"]


def test_another_shell_is_refused_with_those_there_are(tmp_path: Path) -> None:
    ran = run(tmp_path, "completion", "powershell")
    assert ran.code == 1
    assert "invalid choice: 'powershell' (choose from bash, zsh, fish)" in ran.err
