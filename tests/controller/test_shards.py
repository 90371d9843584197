"""A controller for one shard: it follows the branch, reconciles its part of the targets, and says which part that is."""

from __future__ import annotations

from pathlib import Path

import yaml

from reconciler.sandbox import Sandbox
from tests.cli.support import run
from tests.controller.process import running
from tests.controller.repos import Repo

SHARDS = (["south", "west"], ["ireland"])
"""Of two shards, by account and region, forever."""
PLACES = {
    "west": ("200000000000", "us-west-2"),
    "ireland": ("200000000000", "eu-west-1"),
    "south": ("200000000001", "ap-south-1"),
}


def repository(folder: Path) -> Repo:
    repo = Repo(folder)
    targets = {
        name: {"region": region, "accountId": account, "sandbox": f".sandbox/{name}.db"}
        for name, (account, region) in PLACES.items()
    }
    repo.commit(
        {"ivs-reconciler.yaml": {"stack": "acme", "targets": targets}, "specs/live.yaml": {"channels": {"one": {}}}}
    )
    return repo


def test_each_controller_reconciles_the_targets_of_its_shard(tmp_path: Path) -> None:
    repo = repository(tmp_path / "repo")
    seen = []
    for index in (0, 1):
        words = ("--repo", str(repo.folder), "--state", f"state-{index}", "--shard", "auto/2", "--once")
        ran = run(tmp_path, "run", *words, env={"IVS_RECONCILER_SHARD_INDEX": str(index)})
        assert ran.code == 5, ran.err
        _, which, *lines = ran.out.splitlines()
        assert which == f"Shard {index + 1} of 2."
        seen.append(sorted(line.partition(":")[0] for line in lines if ": pending" in line))
    assert seen == [sorted(names) for names in SHARDS]


def test_nothing_is_deleted_while_another_shard_may_have_the_same_account(tmp_path: Path) -> None:
    names = ("one", "two", "three", "four")
    keys = (
        f"[{name}]\naws_access_key_id=30000000000{number}\naws_secret_access_key=any\n"
        for number, name in enumerate(names, 1)
    )
    (tmp_path / "credentials").write_text("".join(keys), "utf-8")
    with Sandbox() as sandbox:
        target = {"region": "us-west-2", "endpointUrl": sandbox.endpoint_url, "prune": True}
        targets = {name: {**target, "profile": name} for name in names}
        project = {"stack": "acme", "targets": targets, "guardrails": {"maxDeletePercent": None}}
        repo = Repo(tmp_path / "repo")

        def reconciled(channels: dict[str, dict[str, str]]) -> str:
            repo.commit({"ivs-reconciler.yaml": project, "specs/live.yaml": {"channels": channels}})
            words = ("--repo", str(repo.folder), "--mode", "apply", "--once")
            env = {"AWS_SHARED_CREDENTIALS_FILE": str(tmp_path / "credentials")}
            return "".join(
                run(tmp_path, "run", *words, "--state", f"state-{shard}", "--shard", f"{shard}/2", env=env).out
                for shard in (1, 2)
            )

        def count(operation: str) -> int:
            return len(sandbox.control.calls(operation=operation))

        reconciled({"first": {}})
        assert count("CreateChannel") == len(names)
        assert reconciled({"second": {}}).count("add accountId to all targets") == len(names)
        assert count("DeleteChannel") == 0
        for number, name in enumerate(names, 1):
            targets[name]["accountId"] = f"30000000000{number}"
        reconciled({"second": {}})
        assert count("CreateChannel") == 2 * len(names)
        assert count("DeleteChannel") == len(names)


def test_an_empty_shard_is_ready_and_its_page_says_what_it_is(tmp_path: Path) -> None:
    repo = repository(tmp_path / "repo")
    settings = {"controller": {"repository": {"url": str(repo.folder)}, "shard": "auto/40", "interval": "1h"}}
    (tmp_path / "controller.yaml").write_text(yaml.safe_dump(settings), "utf-8")
    with running(tmp_path, "--config-file", "controller.yaml", env={"IVS_RECONCILER_SHARD_INDEX": "4"}) as controller:
        controller.until_ready()
        _, page, _ = controller.ask("/")
        assert "<dt>Shard</dt><dd>5 of 40</dd>" in page
        assert "No target of the project is in this shard" in page
        (line,) = controller.lines("commit followed")
        assert (line["targets"], line["shard"]) == (0, "5/40")
        assert controller.end() == 0
    settings["controller"]["shard"] = "5/4"
    (tmp_path / "controller.yaml").write_text(yaml.safe_dump(settings), "utf-8")
    ran = run(tmp_path, "run", "--config-file", "controller.yaml")
    assert ran.code == 1
    assert "controller.yaml:" in ran.err
    assert "is out of range: shards are numbered from 1 to 4" in ran.err
