"""Several clients at once, each a process: what a server can do, where one client alone shows mostly its own cost.

``python -m bench.crowd URL boto3|plain COUNT`` is one of them: it says that it is ready, waits to be let go, creates so
many channels, and says when it began and ended, by the one clock that all processes of a machine share.
"""

from __future__ import annotations

import http.client
import json
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

AUTHORIZATION = (
    "AWS4-HMAC-SHA256 Credential=123456789012/20260101/us-west-2/ivs/aws4_request, SignedHeaders=host, Signature=0"
)
WARM_UP = 50

Create = Callable[[int], None]


def crowd(url: str, kind: str, clients: int, creates: int) -> float:
    """Return the seconds from the first call to the last, divided by the number of creates; all clients together make that many."""
    command = [sys.executable, "-m", "bench.crowd", url, kind, str(creates // clients)]
    processes = [
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) for _ in range(clients)
    ]
    for process in processes:
        assert process.stdout is not None
        process.stdout.readline()
    times = []
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    for process in processes:
        output, _ = process.communicate()
        times.append(tuple(float(word) for word in output.split()))
    return (max(ended for _, ended in times) - min(began for began, _ in times)) / (creates // clients * clients)


def main(url: str, kind: str, creates: int) -> None:
    """Be one client."""
    create = KINDS[kind](url)
    for number in range(WARM_UP):
        create(number)
    print("ready", flush=True)
    sys.stdin.readline()
    began = time.monotonic()
    for number in range(creates):
        create(number)
    print(began, time.monotonic())


def plain(url: str) -> Create:
    """Return a create by the standard library's HTTP client, which costs next to nothing."""
    connection = http.client.HTTPConnection(url.removeprefix("http://"))
    headers = {"Content-Type": "application/json", "Authorization": AUTHORIZATION}

    def create(number: int) -> None:
        connection.request(
            "POST", "/CreateChannel", json.dumps({"name": f"c{number}", "tags": {"bench": "yes"}}).encode(), headers
        )
        answer = connection.getresponse()
        json.loads(answer.read())["channel"]

    return create


def boto(url: str) -> Create:
    """Return a create by boto3."""
    ivs = client(url)
    return lambda number: ivs.create_channel(name=f"c{number}", tags={"bench": "yes"})


def client(url: str) -> Any:
    """Return a boto3 client of a server."""
    import boto3
    from botocore.config import Config

    return boto3.client(
        "ivs",
        endpoint_url=url,
        region_name="us-west-2",
        aws_access_key_id="123456789012",
        aws_secret_access_key="bench",
        config=Config(retries={"total_max_attempts": 1}),
    )


KINDS: dict[str, Callable[[str], Create]] = {"plain": plain, "boto3": boto}

if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]))
