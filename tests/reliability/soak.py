"""Many plans and applies in one process, as the controller makes them: prints what each round left behind, a JSON object a line.

``python -m tests.reliability.soak FOLDER URL ROUNDS`` runs in the folder of a project whose target is the embedded server at the URL.
"""

from __future__ import annotations

import contextlib
import gc
import io
import json
import os
import sys
import threading
from pathlib import Path
from typing import Any

from reconciler.cli.main import main
from tests.cli.support import client


def change(ivs: Any, round_: int) -> None:
    """Change something outside, another thing each round; every tenth round a channel is gone."""
    channels = sorted(ivs.list_channels(maxResults=100)["channels"], key=lambda channel: str(channel["name"]))
    channel = channels[round_ % len(channels)]["arn"]
    if round_ % 10 == 9:
        ivs.delete_channel(arn=channel)
    elif round_ % 2:
        ivs.tag_resource(resourceArn=channel, tags={"team": f"console-{round_}"})
    else:
        ivs.update_channel(arn=channel, latencyMode="NORMAL")


def said(*words: str) -> int:
    """Run the command line in this process; what it prints is dropped."""
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        return main(words)


def resident() -> int:
    """Return this process's resident memory in bytes."""
    return int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1]) * os.sysconf("SC_PAGE_SIZE")


def soak(folder: str, url: str, rounds: int) -> None:
    """Change, plan, apply and plan again, so many times."""
    ivs = client(url)
    for round_ in range(rounds):
        change(ivs, round_)
        codes = [
            said("-C", folder, "plan", "--detailed-exitcode"),
            said("-C", folder, "apply", "--auto-approve"),
            said("-C", folder, "plan", "--detailed-exitcode"),
        ]
        gc.collect()
        left = {"files": len(os.listdir("/proc/self/fd")), "threads": threading.active_count(), "resident": resident()}  # noqa: PTH208
        sys.stdout.write(json.dumps({"codes": codes, **left}) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    soak(sys.argv[1], sys.argv[2], int(sys.argv[3]))
