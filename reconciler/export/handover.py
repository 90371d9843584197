"""Reads what Terraform and CloudFormation know of resources, and writes the steps that remove the exported ones from them.

Read are ARNs, names there, and from Terraform the PEMs of public keys, from the output of ``terraform show -json`` and of
``aws cloudformation describe-stack-resources`` or ``list-stack-resources``.
Nothing else is taken from them: a Terraform state holds the values of stream keys that a data source read, not even marked as sensitive.

Written are Terraform's ``removed`` blocks, and a page with the order of steps. They are removed from the other tool first: as long as it manages a resource,
it removes our tags, and replaces what it cannot update.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any

from reconciler.export.entries import to_id
from reconciler.model.kinds import kind_of


class Tool(Enum):
    """The tool that made the resources."""

    TERRAFORM = "Terraform"
    CLOUDFORMATION = "CloudFormation"


@dataclass(frozen=True, slots=True)
class Origin:
    """A resource in another tool: its address or logical id there, the CloudFormation stack, and names for ids, the shortest first."""

    tool: Tool
    arn: str
    address: str
    names: tuple[str, ...]
    stack: str = ""

    @property
    def block(self) -> str:
        """The address without keys and numbers, as Terraform's ``removed`` requires: it means all instances."""
        return _KEY.sub("", self.address)

    @property
    def location(self) -> tuple[str, str]:
        """The region and account of the resource."""
        _, _, _, region, account, _ = self.arn.split(":", 5)
        return region, account


@dataclass(frozen=True, slots=True)
class Source:
    """The IVS resources in one file, and the PEMs of public keys in it."""

    origins: tuple[Origin, ...]
    pems: tuple[str, ...] = ()


class BadSource(Exception):
    """The text is no output of a known command; the message says what it is, and holds nothing of it."""


_COMMANDS = "write the output of terraform show -json, or of aws cloudformation describe-stack-resources"


def read_source(text: str) -> Source:
    """Return the resources in the output of one of the commands. Raises ``BadSource``."""
    try:
        data = json.loads(text)
    except (ValueError, RecursionError):
        raise BadSource(f"is not JSON; {_COMMANDS} to the file") from None
    if not isinstance(data, dict):
        raise BadSource(f"has no resources; {_COMMANDS} to the file")
    if isinstance(data.get("resources"), list) and "lineage" in data:
        raise BadSource("is a Terraform state file; use the output of terraform show -json")
    if "format_version" in data:
        if "planned_values" in data:
            raise BadSource("is a Terraform plan; use the output of terraform show -json without a plan file")
        return _of_terraform(data)
    for key in ("StackResources", "StackResourceSummaries"):
        if isinstance(data.get(key), list):
            return Source(tuple(_of_cloudformation(data[key])))
    if "Resources" in data:
        raise BadSource(
            "is a template, which has no ARNs; use the output of aws cloudformation describe-stack-resources"
        )
    raise BadSource(f"has no resources; {_COMMANDS} to the file")


_MODULE = re.compile(r'module\.([^.\[]+)(?:\[(?:"((?:[^"\\]|\\.)*)"|(\d+))\])?\.?')
_KEY = re.compile(r'\[(?:"(?:[^"\\]|\\.)*"|\d+)\]')
_ADDRESS = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]*")
_NAME = re.compile(r"[A-Za-z0-9-]*")
_SAYS_NOTHING = frozenset({"this", "main", "default", "self", "channel", "ivs", "ivs_channel"})
"""Names of resources that are unique only within their module."""


def _of_terraform(data: Mapping[str, Any]) -> Source:
    values = data.get("values")
    root = values.get("root_module") if isinstance(values, dict) else None
    origins: list[Origin] = []
    pems: list[str] = []
    for resource in _resources(root):
        known = resource["values"] if isinstance(resource.get("values"), dict) else {}
        arn = known.get("arn") or known.get("id")
        address = resource.get("address")
        if resource.get("mode") != "managed" or not isinstance(arn, str) or not isinstance(address, str):
            continue
        if kind_of(arn) is None or not _ADDRESS.fullmatch(_KEY.sub("", address)):
            continue
        origins.append(Origin(Tool.TERRAFORM, arn, address, _terraform_names(resource, address)))
        pem = known.get("public_key") or known.get("public_key_material")
        if isinstance(pem, str):
            pems.append(pem)
    return Source(tuple(origins), tuple(pems))


def _resources(module: object) -> Iterator[Mapping[str, Any]]:
    """Yield the resources of a module and of those below it."""
    waiting = [module]
    while waiting:
        here = waiting.pop(0)
        if not isinstance(here, dict):
            continue
        yield from (one for one in here.get("resources") or () if isinstance(one, dict))
        waiting += here.get("child_modules") or ()


def _terraform_names(resource: Mapping[str, Any], address: str) -> tuple[str, ...]:
    """Return names for the id: the key of ``for_each``, or the name with the number of ``count``; longer ones begin with the modules."""
    name = str(resource.get("name") or "")
    own = _label(name, resource.get("index"))
    modules, position = [], 0
    while step := _MODULE.match(address, position):
        modules.append(_label(step[1], step[2] if step[2] is not None else step[3] and int(step[3])))
        position = step.end()
    words = [word for word in (*modules, own) if word]
    if modules and resource.get("index") is None and name in _SAYS_NOTHING:
        words = modules
    return tuple(dict.fromkeys("-".join(words[start:]) for start in range(len(words) - 1, -1, -1)))


def _label(name: str, index: object) -> str:
    if isinstance(index, str):
        return to_id(index.replace("_", "-"))
    name = to_id(name.replace("_", "-"))
    return f"{name}-{index}" if isinstance(index, int) else name


_CDK_HASH = re.compile(r"(?<=.)[0-9A-F]{8}$")
"""What the CDK adds to a logical id."""


def _of_cloudformation(resources: list[Any]) -> Iterator[Origin]:
    for resource in resources:
        # DELETE_SKIPPED has left the stack and exists.
        if not isinstance(resource, dict) or resource.get("ResourceStatus") in (
            "DELETE_COMPLETE",
            "DELETE_IN_PROGRESS",
        ):
            continue
        arn, logical = resource.get("PhysicalResourceId"), resource.get("LogicalResourceId")
        stack = str(resource.get("StackName") or "")
        if not isinstance(arn, str) or not isinstance(logical, str) or kind_of(arn) is None:
            continue
        if _NAME.fullmatch(logical) and _NAME.fullmatch(stack):
            names = tuple(dict.fromkeys((_CDK_HASH.sub("", logical), logical)))
            yield Origin(Tool.CLOUDFORMATION, arn, logical, names, stack)


PAGE = "handover.md"
BLOCKS = "removed.tf"


def removed_blocks(origins: Iterable[Origin]) -> str:
    """Return the ``removed`` blocks of Terraform resources; empty without any."""
    addresses = sorted({one.block for one in origins if one.tool is Tool.TERRAFORM})
    if not addresses:
        return ""
    blocks = [
        f"removed {{\n  from = {address}\n\n  lifecycle {{\n    destroy = false\n  }}\n}}\n" for address in addresses
    ]
    head = "# Terraform 1.7 or newer stops managing these resources and does not delete them. Delete this file after terraform apply.\n\n"
    return head + "\n".join(blocks)


def not_exported(origins: Iterable[Origin], exported: Collection[str]) -> Iterator[str]:
    """Yield a line for each resource that a ``removed`` block covers and that is not exported: no tool would manage it."""
    own = [one for one in origins if one.tool is Tool.TERRAFORM]
    covered = {one.block for one in own if one.arn in exported}
    for one in own:
        if one.arn not in exported and one.block in covered:
            yield f"{one.address} is not exported, but {BLOCKS} covers it; remove its block, or export it too"


def page(origins: Sequence[Origin], commands: Sequence[str]) -> str:
    """Return the page with the order of steps. ``commands`` adopt the resources."""
    parts = ["# Migrate to ivs-reconciler\n"]
    if terraform := [one for one in origins if one.tool is Tool.TERRAFORM]:
        parts.append(_terraform(terraform, commands))
    if cloudformation := [one for one in origins if one.tool is Tool.CLOUDFORMATION]:
        parts.append(_cloudformation(cloudformation, commands))
    return "\n".join(parts)


def _adopt(number: int, commands: Sequence[str]) -> str:
    return f"{number}. Adopt them:\n\n" + _shell(commands) + "\n   The plan lists adoptions only.\n"


def _shell(commands: Iterable[str]) -> str:
    return "".join(["   ```sh\n", *(f"   {command}\n" for command in commands), "   ```\n"])


def _terraform(origins: Sequence[Origin], commands: Sequence[str]) -> str:
    blocks = sorted({one.block for one in origins})
    return (
        "## From Terraform\n\n"
        "Remove the resources from Terraform first: as long as it manages one, it removes the owner tags, and replaces key pairs and recording configurations to do so.\n\n"
        "1. Commit the spec files; `ivs-reconciler validate` finds no problems.\n"
        f'2. In the Terraform configuration, copy `{BLOCKS}`, and delete these resources and every `data "aws_ivs_stream_key"` that reads from them:\n\n'
        + "".join(f"   - `{address}`\n" for address in blocks)
        + "\n   Where other code refers to them, write the ARN (it is in the adopt file) or a variable; "
        "after step 4, `ivs-reconciler outputs` prints ARNs and URLs.\n"
        "3. Remove them from the state. The plan must show 0 to add, 0 to change, 0 to destroy:\n\n"
        + _shell(["terraform plan", "terraform apply"])
        + _adopt(4, commands)
        + f"5. `ivs-reconciler plan` and `terraform plan` show no changes. Delete `{BLOCKS}` and the adopt file.\n\n"
        "Old versions of Terraform's state still hold the values of stream keys. To rotate them, write `streamKey: {}` in the channels and apply; "
        'then write a label into the project file, `defaults: {streamKey: {rotation: "1"}}`, and apply: it rotates all of them. '
        "`ivs-reconciler rotate stream-key channel/ID` rotates one.\n"
    )


def _cloudformation(origins: Sequence[Origin], commands: Sequence[str]) -> str:
    stacks: dict[str, list[str]] = {}
    for one in origins:
        stacks.setdefault(one.stack, []).append(one.address)
    listed = "".join(
        f"   - {f'stack `{stack}`: ' if stack else ''}{', '.join(f'`{name}`' for name in sorted(names))}\n"
        for stack, names in sorted(stacks.items())
    )
    return (
        "## From CloudFormation\n\n"
        "Remove the resources from the stack first: as long as a stack contains one, an update or a delete of the stack changes it.\n\n"
        "1. Commit the spec files; `ivs-reconciler validate` finds no problems.\n"
        "2. In the template, write `DeletionPolicy: Retain` and `UpdateReplacePolicy: Retain` beside `Type` of these resources, and deploy:\n\n"
        + listed
        + "\n   If CloudFormation finds no updates to perform, change their `Metadata` as well. In the CDK: `resource.applyRemovalPolicy(RemovalPolicy.RETAIN)`.\n"
        "3. Delete these resources and the outputs that refer to them from the template, and deploy again. "
        "The events of the stack show `DELETE_SKIPPED` for each; they stay in the account. "
        "Where other resources refer to them, write the ARN (it is in the adopt file) or a parameter.\n"
        + _adopt(4, commands)
        + "5. `ivs-reconciler plan` shows no changes. Delete the adopt file.\n"
    )
