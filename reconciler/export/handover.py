"""Writes how another tool lets go of the exported resources: for Terraform ``removed`` blocks, and a page with the order of steps.

The other tool lets go first. As long as it manages a resource, it removes our tags, and replaces what it cannot update.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence

from reconciler.export.sources import Origin, Tool

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
    head = "# Terraform 1.7 or newer lets go of these resources without deleting them. Delete this file after terraform apply.\n\n"
    return head + "\n".join(blocks)


def not_exported(origins: Iterable[Origin], exported: Collection[str]) -> Iterator[str]:
    """Yield a line for each resource that a ``removed`` block covers and that is not exported: nobody would manage it."""
    own = [one for one in origins if one.tool is Tool.TERRAFORM]
    covered = {one.block for one in own if one.arn in exported}
    for one in own:
        if one.arn not in exported and one.block in covered:
            yield f"{one.address} is not exported, but {BLOCKS} covers it; remove its block, or export it too"


def page(origins: Sequence[Origin], commands: Sequence[str]) -> str:
    """Return the page with the order of steps. ``commands`` adopt the resources."""
    parts = ["# Hand-over to ivs-reconciler\n"]
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
        "Terraform lets go first: as long as it manages a resource, it removes the owner tags, and replaces key pairs and recording configurations to do so.\n\n"
        "1. Commit the spec files; `ivs-reconciler validate` finds no problems.\n"
        f'2. In the Terraform configuration, copy `{BLOCKS}`, and delete these resources and every `data "aws_ivs_stream_key"` that reads from them:\n\n'
        + "".join(f"   - `{address}`\n" for address in blocks)
        + "\n   Where other code refers to them, write the ARN (it is in the adopt file) or a variable; "
        "after step 4, `ivs-reconciler outputs` prints ARNs and URLs.\n"
        "3. Let Terraform go of them. The plan must show 0 to add, 0 to change, 0 to destroy:\n\n"
        + _shell(["terraform plan", "terraform apply"])
        + _adopt(4, commands)
        + f"5. `ivs-reconciler plan` and `terraform plan` show no changes. Delete `{BLOCKS}` and the adopt file.\n\n"
        "The state of Terraform keeps the values of stream keys in old versions. Rotate them: `ivs-reconciler rotate stream-key`.\n"
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
        "CloudFormation lets go first: as long as its stack holds a resource, an update or a delete of the stack changes it.\n\n"
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
