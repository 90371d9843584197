"""Reads what Terraform and CloudFormation know of resources: their ARNs, their names there, and from Terraform the PEMs of public keys.

Accepted are the output of ``terraform show -json`` and of ``aws cloudformation describe-stack-resources`` or ``list-stack-resources``.
Nothing else is taken from them: a Terraform state holds the values of stream keys that a data source read, not even marked as sensitive.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any

from reconciler.export.ids import to_id
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
"""Names of resources in a module that only the module tells apart."""


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
