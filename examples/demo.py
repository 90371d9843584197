"""The product in a minute: an embedded IVS server, a plan, an apply, an empty plan, a change behind its back, and its repair.

Runs the real command line as a process on a copy of ``examples/studio`` under ``.demo``; needs no AWS account and calls no address but this machine's own.
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
    """One run of the demonstration in a folder of its own."""

    def __init__(self, folder: Path, *, color: bool) -> None:
        self.folder = folder
        self.color = color

    def say(self, text: str) -> None:
        """Print what comes next."""
        print(f"\n\x1b[1;36m# {text}\x1b[0m" if self.color else f"\n# {text}", flush=True)

    def run(self, *words: str, expect: int) -> None:
        """Run the command line as a user would, and insist on its exit code."""
        shown = " ".join(("ivs-reconciler", *words))
        print(f"\x1b[1m$ {shown}\x1b[0m" if self.color else f"$ {shown}", flush=True)
        code = subprocess.run([sys.executable, "-m", "reconciler", *words], cwd=self.folder, check=False).returncode
        print(f"(exit code {code})", flush=True)
        if code != expect:
            raise SystemExit(f"the demonstration expected exit code {expect} here, not {code}")

    def change_behind_its_back(self) -> None:
        """Do what a colleague does in the console: make a private channel public and change its latency."""
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

    demo.say("The spec: a live studio with recording, private playback and restrictions, kept as YAML.")
    demo.run("validate", expect=0)
    demo.say("What would an apply do? The account, an embedded IVS server, is empty.")
    demo.run("plan", expect=0)
    demo.say("Do it.")
    demo.run("apply", "--auto-approve", expect=0)
    demo.say("A second plan is empty.")
    demo.run("plan", "--detailed-exitcode", expect=0)
    demo.say(f"Somebody opens {CHANNEL} to the public behind its back.")
    demo.change_behind_its_back()
    demo.run("drift", expect=2)
    demo.say("Put it right.")
    demo.run("apply", "--auto-approve", expect=0)
    demo.run("drift", expect=0)
    demo.say(
        f"That was the product. The spec is in {args.folder.name}/, the commands are: .venv/bin/ivs-reconciler --help"
    )


if __name__ == "__main__":
    main()
