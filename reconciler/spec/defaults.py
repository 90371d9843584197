"""The project's default block under every channel, and the default tags under everything.

What a channel writes wins, whole objects at a time; ``null`` in a channel means "without this default"; either form of a reference replaces the other.
A problem that comes from the defaults is reported once, in the project file, and not once for each channel.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from typing import Any

from reconciler.model.address import Address
from reconciler.model.target import Project
from reconciler.spec.entries import Entry
from reconciler.spec.files import project_source
from reconciler.spec.loader import Source
from reconciler.spec.problems import Fault, Problems
from reconciler.spec.rules import REFERENCES, SIBLINGS, Place, arn_faults
from reconciler.spec.whole import reference_fault


class Defaults:
    """The defaults of one project, ready to be merged."""

    def __init__(self, project: Project) -> None:
        self._project = project
        self._block: Mapping[str, Any] = {
            name: value for name, value in project.default_channel.items() if name != "tags"
        }
        self._references = tuple(name for name in self._block if name in SIBLINGS)
        channel_tags: Any = project.default_channel.get("tags") or {}
        self.project_tags: Mapping[str, str] = project.default_tags
        self._channel_tags: Mapping[str, str] = channel_tags

    @property
    def tags(self) -> Mapping[str, str]:
        """The default tags of every kind but channels, whose own defaults ``tags_under`` has merged already."""
        return self.project_tags

    @cached_property
    def _source(self) -> Source:
        return project_source(self._project)

    def under(self, entry: Entry) -> Mapping[str, Any]:
        """Return a channel's fields over the default ones; tags are left to ``tags_under``."""
        body = entry.body
        if not self._block:
            return body
        merged = {**self._block, **body}
        for name in self._references:
            sibling = SIBLINGS[name]
            if sibling in body or sibling in entry.nulls:
                merged.pop(name, None)
        for name in entry.nulls:
            if name not in body:
                merged.pop(name, None)
        return merged

    def tags_under(self, entry: Entry) -> Mapping[str, str] | None:
        """Return a channel's tags over the default ones of channels."""
        own: Mapping[str, str] | None = entry.body.get("tags")
        return {**self._channel_tags, **(own or {})} if self._channel_tags and "tags" not in entry.nulls else own

    def check(self, entries: Mapping[Address, Entry], place: Place, problems: Problems, *, complete: bool) -> None:
        """Judge what the default block refers to; ``complete`` says that ``entries`` are all there are."""
        for name in self._references:
            if complete and name in REFERENCES and (fault := reference_fault(name, self._block[name], entries)):
                self._note(fault, problems)
        for fault in arn_faults(self._block, place):
            self._note(fault, problems)

    def note(self, entry: Entry, fault: Fault, problems: Problems) -> None:
        """Note a problem of a channel where the field at fault is written: in the channel, or in the defaults."""
        name = fault.path[0] if fault.path else ""
        if name in entry.body or name not in self._block:
            entry.note(problems, fault)
        else:
            self._note(fault, problems)

    def _note(self, fault: Fault, problems: Problems) -> None:
        source = self._source
        mark = source.mark(("defaults", "channel", *fault.path), at_key=fault.at_key)
        problems.add(source.name, mark, fault.what, fault.hint)
