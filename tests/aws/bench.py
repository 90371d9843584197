"""A project, an account that verifies signatures, and a home with AWS settings: what the tests of credentials stand on."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from reconciler.sandbox import Sandbox
from tests.aws.authority import ACCOUNTS, CANARY, STATIC, Refusal, program
from tests.cli.support import ACCOUNT, REGION, Ran, process, run, stack

ROLE = "arn:aws:iam::123456789012:role/deployer"
COUNT = 8
CHANNELS: dict[str, dict[str, object]] = {"channels": {f"c{number:02}": {} for number in range(COUNT)}}
DENIED = Refusal(403, "AccessDenied", "User is not authorized to perform: sts:AssumeRole")
STATIC_KEYS = f"aws_access_key_id = STATIC\naws_secret_access_key = {STATIC.secret}\n"


@dataclass
class Bench:
    """A project, an account that verifies signatures, and a home for AWS settings that is outside the project."""

    folder: Path
    home: Path
    sandbox: Sandbox
    env: dict[str, str]

    def settings(self, text: str) -> None:
        """Write the AWS configuration file."""
        (self.home / "config").write_text(text, encoding="utf-8")

    def project(self, **target: object) -> None:
        self.projects(dev=target)

    def projects(self, **targets: Mapping[str, object]) -> None:
        """Write a project with these targets."""
        common: dict[str, object] = {"region": REGION, "accountId": ACCOUNT, "rateLimits": "off"}
        stack(self.folder, CHANNELS, targets={name: {**common, **target} for name, target in targets.items()})

    def run(self, *words: str) -> Ran:
        """Run the command line as talkative as it gets, and look for secrets in all that it leaves."""
        # botocore looks up the home, for its cache of tokens, when it is imported.
        runs = process if (self.home / ".aws").exists() else run
        ran = runs(self.folder, *words, "-vv", "--log-format", "json", env=self.env)
        left = [path.read_text(encoding="utf-8", errors="replace") for path in self.folder.rglob("*") if path.is_file()]
        assert CANARY not in "".join((ran.out, ran.err, *left))
        return ran

    def keys(self, operation: str) -> list[str]:
        """Return who signed the calls of an operation that were accepted."""
        return [
            call["access_key"] for call in self.sandbox.control.calls(operation, limit=5000) if call["status"] == 200
        ]

    def names(self) -> list[str]:
        return sorted(one["name"] for one in self.sandbox.control.inventory(limit=5000) if ":channel/" in one["arn"])

    def is_converged(self) -> None:
        """Apply again and look that all is there, nothing twice, and nothing left to do."""
        again = self.run("apply", "--auto-approve")
        assert again.code == 0, again.err
        assert self.names() == list(CHANNELS["channels"])
        assert self.run("plan", "--detailed-exitcode").code == 0


def outcomes(ran: Ran) -> list[dict[str, Any]]:
    result: list[dict[str, Any]] = [json.loads(line) for line in ran.out.splitlines()][-1]["outcomes"]
    return result


def sso(bench: Bench, hours: float, form: str) -> None:
    """Sign in as ``aws sso login`` does, with a token that lives so many hours from now."""
    url, role = "https://studio.example.com/start", "sso_account_id = 123456789012\nsso_role_name = deployer\n"
    place = f"sso_start_url = {url}\nsso_region = us-west-2\n"
    session = f"[profile staff]\nsso_session = studio\n{role}[sso-session studio]\n{place}"
    bench.settings(session if form == "session" else f"[profile staff]\n{place}{role}")
    cache = bench.home / ".aws" / "sso" / "cache"
    cache.mkdir(parents=True, exist_ok=True)
    name = hashlib.sha1(("studio" if form == "session" else url).encode(), usedforsecurity=False).hexdigest()
    until = (datetime.now(UTC) + timedelta(hours=hours)).strftime("%Y-%m-%dT%H:%M:%SZ")
    (cache / f"{name}.json").write_text(
        json.dumps({"startUrl": url, "region": "us-west-2", "accessToken": f"{CANARY}Bearer", "expiresAt": until})
    )


def broken_off(bench: Bench, said: str, *, repaired: bool = True) -> None:
    """Apply with credentials that end on the way; compare what is said with what is there."""
    ran = bench.run("apply", "--auto-approve", "--format", "json")
    made = bench.names()
    assert ran.code == 4, ran.err
    assert 0 < len(made) < COUNT
    done = sorted(
        outcome["address"].split("/")[-1].split(".")[-1] for outcome in outcomes(ran) if outcome["outcome"] == "done"
    )
    assert len(done) == len(set(done))
    rest = [outcome for outcome in outcomes(ran) if outcome["outcome"] != "done"]
    assert done == made
    assert len(rest) == COUNT - len(made)
    assert {outcome["outcome"] for outcome in rest} <= {"failed", "skipped"}
    assert any(said in (outcome["message"] or "") for outcome in rest), rest
    (record,) = (
        path
        for path in (bench.folder / ".ivs-reconciler").glob("*.json")
        if "addresses" in path.read_text(encoding="utf-8")
    )
    assert [
        address.split("/")[-1].split(".")[-1] for address in json.loads(record.read_text(encoding="utf-8"))["addresses"]
    ] == made
    (journal,) = (bench.folder / ".ivs-reconciler").glob("journal-*.jsonl")
    lines = [json.loads(line) for line in journal.read_text(encoding="utf-8").splitlines()]
    assert sum(line["event"] == "done" and line["outcome"] == "done" for line in lines) == len(made)
    assert lines[-1]["event"] == "end"
    if repaired:
        (bench.home / "runs").unlink()
        bench.settings(f"[profile studio]\n{program(bench.home)}\n")
        bench.is_converged()


@contextmanager
def benched(folder: Path) -> Iterator[Bench]:
    """Set it up in a folder."""
    home = folder / "home"
    home.mkdir()
    with Sandbox(settle_seconds=0, auth="strict", accounts=ACCOUNTS) as sandbox:
        env = {
            "HOME": str(home),
            "AWS_CONFIG_FILE": str(home / "config"),
            "AWS_SHARED_CREDENTIALS_FILE": str(home / "credentials"),
            "AWS_ENDPOINT_URL_IVS": sandbox.endpoint_url,
            "AWS_ENDPOINT_URL_STS": sandbox.endpoint_url,
        }
        yield Bench(folder / "repo", home, sandbox, env)
