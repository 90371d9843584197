"""A demonstration: plan, apply, an empty plan, a change made outside, and its repair, in the sandbox.

Runs the command line as a process on a copy of ``examples/studio`` under ``.demo``. Needs no AWS account and calls loopback addresses only.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
from pathlib import Path

import boto3

from reconciler.sandbox import Sandbox

HERE = Path(__file__).resolve().parent
CHANNEL = "main-stage"


class Demo:
    """One run of the demonstration in a directory of its own."""

    def __init__(self, folder: Path, *, color: bool) -> None:
        self.folder = folder
        self.color = color

    def say(self, text: str) -> None:
        """Print a comment."""
        print(f"\n\x1b[1;36m# {text}\x1b[0m" if self.color else f"\n# {text}", flush=True)

    def run(self, *words: str, expect: int) -> None:
        """Run the command line and check its exit code."""
        shown = " ".join(("ivs-reconciler", *words))
        print(f"\x1b[1m$ {shown}\x1b[0m" if self.color else f"$ {shown}", flush=True)
        code = subprocess.run([sys.executable, "-m", "reconciler", *words], cwd=self.folder, check=False).returncode
        print(f"(exit code {code})", flush=True)
        if code != expect:
            raise SystemExit(f"the demonstration expected exit code {expect} here, not {code}")

    def change_outside(self) -> None:
        """Make a private channel public and change its latency, as a colleague may do in the console."""
        with Sandbox(db=self.folder / ".sandbox" / "studio.db") as sandbox:
            ivs = boto3.client(
                "ivs",
                endpoint_url=sandbox.endpoint_url,
                region_name="us-west-2",
                aws_access_key_id="123456789012",
                aws_secret_access_key="demo",
            )
            channel = ivs.list_channels(filterByName=CHANNEL)["channels"][0]
            ivs.update_channel(arn=channel["arn"], authorized=False, latencyMode="NORMAL")


def main() -> None:
    """Run the demonstration."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, default=HERE.parent / ".demo", help="where to work; emptied first")
    parser.add_argument("--plain", action="store_true", help="no colours, as for a transcript")
    args = parser.parse_args()
    shutil.rmtree(args.folder, ignore_errors=True)
    shutil.copytree(HERE / "studio", args.folder, ignore=shutil.ignore_patterns(".sandbox"))
    demo = Demo(args.folder, color=sys.stdout.isatty() and not args.plain)

    demo.say("The spec: a live studio with recording, private playback and restrictions.")
    demo.run("validate", expect=0)
    demo.say("What would an apply do? The sandbox is empty.")
    demo.run("plan", expect=0)
    demo.say("Apply it.")
    demo.run("apply", "--auto-approve", expect=0)
    demo.say("A second plan is empty.")
    demo.run("plan", "--detailed-exitcode", expect=0)
    demo.say(f"A colleague makes {CHANNEL} public in the console, with normal latency.")
    demo.change_outside()
    demo.run("drift", expect=2)
    demo.say("Repair it.")
    demo.run("apply", "--auto-approve", expect=0)
    demo.run("drift", expect=0)
    demo.say(f"Done. The spec is in {args.folder.name}/; see .venv/bin/ivs-reconciler --help")


if __name__ == "__main__":
    main()
