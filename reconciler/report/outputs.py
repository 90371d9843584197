"""Outputs as JSON, as environment variables and as text."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Sequence
from typing import Any

from pydantic_core import core_schema as core

from reconciler import json_format as form
from reconciler.errors import UsageError
from reconciler.json_format import TEXT, Format, described, list_of, object_of
from reconciler.model.kinds import KINDS
from reconciler.model.resource import TargetOutputs
from reconciler.report.text import Paint, plain
from reconciler.terminal import sanitize

FORMAT_VERSION = "1.0"

_RESOURCE = object_of(
    arn=described(TEXT, "The ARN."),
    name=form.omitted(described(TEXT, "The name in AWS.")),
    **{
        name: form.omitted(described(TEXT, f"Of a {kind.title}: {output.about}"))
        for kind in KINDS.values()
        for name, output in kind.outputs.items()
    },
    storedIn=form.omitted(
        described(TEXT, "Of a stream key: The ARN of the secret or parameter that its value was published to.")
    ),
)
OUTPUTS = Format(
    object_of(
        formatVersion=form.version(FORMAT_VERSION, minor=True),
        stack=TEXT,
        targets=list_of(
            form.defined(
                "target",
                object_of(
                    name=TEXT,
                    accountId=described(TEXT, pattern="^[0-9]{12}$"),
                    region=TEXT,
                    resources=described(
                        core.dict_schema(TEXT, form.defined("resource", _RESOURCE)), "The outputs by address."
                    ),
                    missing=described(form.TEXTS, "With --partial: addresses of the spec that do not exist."),
                ),
            )
        ),
    )
)


def outputs_json(stack: str, targets: Sequence[TargetOutputs]) -> dict[str, Any]:
    """Return the outputs of all targets as JSON."""
    return OUTPUTS.write(
        {
            "formatVersion": FORMAT_VERSION,
            "stack": stack,
            "targets": tuple(
                {
                    "name": target.name,
                    "accountId": target.account_id,
                    "region": target.region,
                    "resources": {str(address): dict(values) for address, values in target.resources.items()},
                    "missing": tuple(map(str, target.missing)),
                }
                for target in targets
            ),
        }
    )


def outputs_env(
    targets: Sequence[TargetOutputs], *, with_target: bool | None = None, quote: Callable[[str], str] = shlex.quote
) -> str:
    """Return a line ``NAME=value`` for each output, such as ``IVS_CHANNEL_MAIN_PLAYBACK_URL``.

    ``with_target`` puts the target's name after ``IVS_``; by default with several targets. ``quote`` is for a shell by default.
    Raises ``UsageError`` if two outputs have the same name.
    """
    lines: list[str] = []
    owners: dict[str, str] = {}
    for target in targets:
        place = (target.name,) if (len(targets) > 1 if with_target is None else with_target) else ()
        for address, values in target.resources.items():
            owner = ": ".join((*place, str(address)))
            for output, value in values.items():
                name = _variable(*place, address.kind.value, address.id, re.sub(r"(?=[A-Z])", "_", output))
                other = owners.setdefault(name, owner)
                if other != owner:
                    raise UsageError(
                        f"{other} and {owner}: both have the variable {name}; rename one of them, or use --format json"
                    )
                lines.append(f"{name}={quote(sanitize(value))}\n")
    return "".join(lines)


def _variable(*parts: str) -> str:
    return re.sub(r"[^A-Z0-9]", "_", "_".join(("IVS", *parts)).upper())


def outputs_text(targets: Sequence[TargetOutputs], stack: str, *, paint: Paint = plain) -> str:
    """Return the outputs of all targets as text."""
    blocks = []
    for target in targets:
        head = f"{target.name}: account {target.account_id}, region {target.region}, stack {sanitize(stack)}"
        lines = [paint(head, "bold")]
        for address, values in target.resources.items():
            width = max(map(len, values))
            lines += [
                "",
                f"  {address}",
                *(f"      {name:<{width}}  {sanitize(value)}" for name, value in values.items()),
            ]
        blocks.append("".join(f"{line}\n" for line in lines))
    return "\n".join(blocks)
