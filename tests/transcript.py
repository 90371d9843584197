"""The excerpt of ``make demo`` in the README: made by running it, compared with what it prints now.

``python -m tests.transcript --write`` puts a new one in; the test in ``test_docs`` compares, with everything masked that is different in each run.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
BEGIN, END = "<!-- transcript: make demo -->", "<!-- end of transcript -->"
_MASKS = (
    (
        re.compile(r"(:(?:channel|stream-key|playback-key|[a-z-]+-configuration|[a-z-]+-policy)/)[A-Za-z0-9]{12}\b"),
        r"\1…",
    ),
    (re.compile(r"\d+\.\d s\)"), "… s)"),
    (re.compile(r"\d+ calls?, "), "… calls, "),
)


def run_demo() -> str:
    """Run the demonstration and return what it prints."""
    with tempfile.TemporaryDirectory() as name:
        command = [sys.executable, str(ROOT / "examples" / "demo.py"), "--plain", "--folder", str(Path(name) / ".demo")]
        return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True, timeout=120).stdout.strip(
            "\n"
        )


def excerpt(text: str) -> str:
    """Return the part that the README shows: the drift that is found, and its repair."""
    return (
        "$ ivs-reconciler drift" + text.partition("$ ivs-reconciler drift")[2].partition("\n$ ivs-reconciler drift")[0]
    )


def shown() -> str:
    """Return the excerpt that the README shows."""
    block = (ROOT / "README.md").read_text(encoding="utf-8").partition(BEGIN)[2].partition(END)[0]
    return block.partition("```console\n")[2].partition("\n```")[0]


def masked(text: str) -> list[str]:
    """Return the lines of a transcript without what differs from run to run: ids, times, polls, and the order in which parallel work ends."""
    for pattern, replacement in _MASKS:
        text = pattern.sub(replacement, text)
    lines = text.splitlines()
    finished = [index for index, line in enumerate(lines) if line.startswith("  done  ")]
    for index, line in zip(finished, sorted(lines[index] for index in finished), strict=True):
        lines[index] = line
    return lines


def main() -> None:
    """Write the transcript into the README."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--write", action="store_true", required=True)
    parser.parse_args()
    path = ROOT / "README.md"
    text = path.read_text(encoding="utf-8")
    head, _, rest = text.partition(BEGIN)
    tail = rest.partition(END)[2]
    block = f"\n```console\n{excerpt(run_demo())}\n```\n"
    path.write_text(f"{head}{BEGIN}{block}{END}{tail}", encoding="utf-8")


if __name__ == "__main__":
    main()
