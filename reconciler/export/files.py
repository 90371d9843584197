"""Makes the files of an export: spec files by kind, by the value of a tag or all in one, and the adopt file."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any

import yaml

from reconciler.export.entries import Written
from reconciler.export.ids import to_id
from reconciler.model.address import Address
from reconciler.model.kinds import LISTED
from reconciler.model.resource import LiveResource
from reconciler.spec.yaml import parse_scalar

_STR = "tag:yaml.org,2002:str"
_WIDEST_FLOW = 100
"""Characters of a mapping that is written on one line."""


class By(Enum):
    """What the files of an export are split by."""

    KIND = "kind"
    TAG = "tag"
    NONE = "none"


@dataclass(frozen=True, slots=True)
class Split:
    """How to split resources into files; ``key`` is the key of the tag."""

    by: By = By.KIND
    key: str = ""

    @classmethod
    def parse(cls, text: str) -> Split:
        """Return the split of ``kind``, ``none`` or ``tag:KEY``. Raises ``ValueError``."""
        if text.startswith("tag:") and len(text) > len("tag:"):
            return cls(By.TAG, text.removeprefix("tag:"))
        if text in (By.KIND.value, By.NONE.value):
            return cls(By(text))
        raise ValueError(f"{text!r} is not kind, none or tag:KEY")

    def file_of(self, resource: LiveResource) -> str:
        """Return the name of the file that holds the entry of a resource."""
        match self.by:
            case By.KIND:
                return LISTED[resource.kind].titles.replace(" ", "-") + ".yaml"
            case By.TAG:
                # Some file systems take names that differ in case for one.
                return (to_id(resource.tags.get(self.key, "")).lower() or "untagged") + ".yaml"
            case By.NONE:
                return "live.yaml"


def spec_files(entries: Iterable[Written], split: Split, schema: str = "") -> dict[str, str]:
    """Return the text of each spec file by name: sections in the order of creation, ids in order. ``schema`` is named for editors."""
    grouped: dict[str, dict[str, dict[str, Any]]] = {}
    order = {kind: rank for rank, kind in enumerate(LISTED)}
    for written in sorted(entries, key=lambda one: (order[one.address.kind], one.address.id)):
        sections = grouped.setdefault(split.file_of(written.resource), {})
        sections.setdefault(LISTED[written.address.kind].section, {})[written.address.id] = written.body
    head = f"# yaml-language-server: $schema={schema}\n" if schema else ""
    return {name: head + to_yaml(sections) for name, sections in sorted(grouped.items())}


def adopt_text(arns: Mapping[str, Mapping[Address, str]], *, by_target: bool) -> str:
    """Return the adopt file: a line for each resource, below its target if there are several."""
    lists = {
        name: _Lines({str(address): arn for address, arn in sorted(found.items())}) for name, found in arns.items()
    }
    return to_yaml(
        {"targets": lists} if by_target else _Lines({key: arn for one in lists.values() for key, arn in one.items()})
    )


def schema_path(folder: str, schemas: str) -> str:
    """Return the path of the schema of spec files, as a file in ``folder`` names it."""
    return os.path.relpath(os.path.join(schemas, "spec.schema.json"), folder)  # noqa: PTH118


class _Lines(dict[str, str]):
    """A mapping that is written with a line for each entry, however short it is."""


class _Dumper(getattr(yaml, "CSafeDumper", yaml.SafeDumper)):  # type: ignore[misc]  # libyaml's is many times as fast
    """Writes mappings as a person does: short ones without nested mappings on one line."""


def _mapping(dumper: Any, value: Mapping[str, Any]) -> yaml.MappingNode:
    flat = not any(isinstance(item, Mapping) or (isinstance(item, str) and "\n" in item) for item in value.values())
    length = sum(len(str(key)) + len(str(item)) + 4 for key, item in value.items()) if flat else 0
    node: yaml.MappingNode = dumper.represent_mapping("tag:yaml.org,2002:map", value.items())
    node.flow_style = flat and length <= _WIDEST_FLOW
    return node


def _lines(dumper: Any, value: _Lines) -> yaml.MappingNode:
    node: yaml.MappingNode = dumper.represent_mapping("tag:yaml.org,2002:map", value.items())
    node.flow_style = False
    return node


def _list(dumper: Any, value: list[Any]) -> yaml.SequenceNode:
    node: yaml.SequenceNode = dumper.represent_sequence("tag:yaml.org,2002:seq", value)
    node.flow_style = not any(isinstance(item, Mapping) for item in value)
    return node


def _text(dumper: Any, value: str) -> yaml.ScalarNode:
    # Quoted is what YAML 1.2 reads as another type, as specs are read, and what YAML 1.1 does, such as NO.
    plain = value and parse_scalar(value) == value and dumper.resolve(yaml.ScalarNode, value, (True, False)) == _STR
    style = "|" if "\n" in value else None if plain else '"'
    node: yaml.ScalarNode = dumper.represent_scalar(_STR, value, style=style)
    return node


_Dumper.add_representer(dict, _mapping)
_Dumper.add_representer(_Lines, _lines)
_Dumper.add_representer(list, _list)
_Dumper.add_representer(str, _text)


def to_yaml(value: object) -> str:
    """Return a value as YAML in block style; an equal value always gives the same text."""
    text: str = yaml.dump(value, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=120)
    return text
