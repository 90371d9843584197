"""Public setups, translated: the account that each describes is exported, adopted and planned to empty, and so is the short form of its spec.

A file in ``setups`` has the spec as it was translated (``long``), and the same with placeholders and loops (``short``).
``targets`` are accounts by target; the default is one target. ``refused`` are problems of a setup with kinds that do not exist.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import boto3
import pytest
import yaml
from botocore import xform_name

from reconciler.model.address import Address
from reconciler.model.kinds import CHILD_KINDS, KINDS, parent_of
from reconciler.model.resource import DesiredState
from reconciler.model.values import Ref, thaw
from reconciler.sandbox import Sandbox
from reconciler.spec.desired import load_desired
from reconciler.spec.project import load_project
from tests.cli.support import run
from tests.sandbox.helpers import PUBLIC_KEY

SETUPS = sorted((Path(__file__).parent / "setups").glob("*.yaml"))


class Setup:
    """One setup, written into a folder."""

    def __init__(self, path: Path, folder: Path) -> None:
        data = yaml.safe_load(path.read_text(encoding="utf-8"))
        self.folder = folder
        self.targets: Mapping[str, str] = data.get("targets") or {"live": "123456789012"}
        self.region: str = data.get("region") or "us-west-2"
        self.stack: str = data.get("stack") or "setup"
        self.project: Mapping[str, Any] = data.get("project") or {}
        self.refused: list[str] = data.get("refused") or []
        self.forms: Mapping[str, Any] = {name: data[name] for name in ("long", "short") if name in data}
        (folder / "keys").mkdir()
        (folder / "keys" / "player.pem").write_text(PUBLIC_KEY, encoding="utf-8")

    def write(self, form: str | None = None) -> None:
        """Write the project file, and the spec of a form if one is given, shared by the targets or one for each."""
        text = self.forms.get(form or "")
        single = not isinstance(text, dict) and form is not None
        targets = {
            name: {"region": self.region, "accountId": account, "sandbox": f".sandbox/{name}.db"}
            | ({} if single else {"specs": [f"specs/{name}/*.yaml"]})
            for name, account in self.targets.items()
        }
        project = {
            "stack": self.stack,
            "targets": targets,
            **({} if single else {"specs": []}),
            **(self.project if form else {}),
        }
        (self.folder / "ivs-reconciler.yaml").write_text(yaml.safe_dump(project), encoding="utf-8")
        for old in (self.folder / "specs").rglob("*.yaml"):
            old.unlink()
        files: Mapping[str, str] = {"live": str(text)} if single else text or {}
        for name, content in files.items():
            path = self.folder / "specs" / ("" if single else name) / f"{name}.yaml"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(content, encoding="utf-8")

    def desired(self, form: str) -> dict[str, DesiredState]:
        self.write(form)
        project = load_project(self.folder)
        return {name: load_desired(project, target) for name, target in project.targets.items()}

    def make(self) -> None:
        """Make the accounts with boto3, as a program does that knows nothing of stacks."""
        for name, spec in self.desired("long").items():
            with Sandbox(db=self.folder / ".sandbox" / f"{name}.db", settle_seconds=0) as sandbox:
                ivs = boto3.client(
                    "ivs",
                    endpoint_url=sandbox.endpoint_url,
                    region_name=self.region,
                    aws_access_key_id=self.targets[name],
                    aws_secret_access_key="any",
                )
                made: dict[Address, dict[str, Any]] = {}
                for address, resource in sorted(spec.resources.items(), key=lambda one: KINDS[one[0].kind].rank):
                    tags = {key: value for key, value in resource.tags.items() if not key.startswith("ivs-reconciler:")}
                    row = KINDS[address.kind]
                    if address.kind in CHILD_KINDS:
                        if tags:
                            ivs.tag_resource(resourceArn=made[parent_of(address)]["streamKey"]["arn"], tags=tags)
                        continue
                    values = {
                        field: made[value.address][str(KINDS[value.address.kind].member)]["arn"]
                        if isinstance(value, Ref)
                        else thaw(value)
                        for field, value in resource.properties.items()
                        if field != row.unique
                    }
                    material = {"publicKeyMaterial": resource.public_key} if resource.public_key else {}
                    made[address] = getattr(ivs, xform_name(row.create))(**values, **material, tags=tags)


@pytest.fixture(params=SETUPS, ids=lambda path: path.stem)
def setup(request: pytest.FixtureRequest, tmp_path: Path) -> Setup:
    return Setup(request.param, tmp_path)


def test_the_account_is_exported_adopted_and_planned_to_empty(setup: Setup) -> None:
    if setup.refused:
        setup.write("long")
        ran = run(setup.folder, "validate")
        assert ran.code == 1
        assert all(line in ran.err + ran.out for line in setup.refused)
        return
    setup.make()
    setup.write()
    exported = run(setup.folder, "export", "--stream-keys", "--keys", "keys")
    assert (exported.code, exported.err) == (0, "")
    assert run(setup.folder, "validate").code == 0
    planned = run(setup.folder, "plan", "--adopt-file", "adopt.yaml")
    assert planned.code == 0
    assert " to adopt" in planned.out
    assert not any(word in planned.out for word in (" to create", " to update", " to replace", " to delete"))
    assert run(setup.folder, "apply", "--adopt-file", "adopt.yaml", "--auto-approve").code == 0
    again = run(setup.folder, "plan", "--detailed-exitcode")
    assert again.code == 0, again.out


def test_the_short_form_is_the_long_one(setup: Setup) -> None:
    if setup.refused:
        return
    long, short = setup.desired("long"), setup.desired("short")
    for name in setup.targets:
        assert {
            address: (one.properties, one.tags, one.protect, one.sink) for address, one in short[name].resources.items()
        } == {
            address: (one.properties, one.tags, one.protect, one.sink) for address, one in long[name].resources.items()
        }
    assert len(str(setup.forms["short"])) <= len(str(setup.forms["long"]))
    # What one form has adopted by name, the other plans to empty.
    setup.make()
    setup.write("short")
    adopted = run(setup.folder, "apply", "--adopt", "--auto-approve")
    assert adopted.code == 0, adopted.out + adopted.err
    assert " to adopt" in adopted.out
    assert " to create" not in adopted.out
    setup.write("long")
    assert run(setup.folder, "plan", "--detailed-exitcode").code == 0
