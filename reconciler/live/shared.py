"""Keeps one copy of what thousands of resources have in common: tag keys, tag values, equal property values."""

from __future__ import annotations

import sys
from collections.abc import Mapping

from reconciler.model.address import KindName
from reconciler.model.normalise import canonical
from reconciler.model.tags import comparable
from reconciler.model.values import Value


class Shared:
    """Makes canonical properties and comparable tags whose equal strings are the same string."""

    def __init__(self, ignore_tags: tuple[str, ...]) -> None:
        self._ignore_tags = ignore_tags

    def properties(self, kind: KindName, item: Mapping[str, object]) -> dict[str, Value]:
        """Return the canonical properties of an answer's item."""
        properties = canonical(kind, item)
        for name, value in properties.items():
            if isinstance(value, str):
                properties[name] = sys.intern(value)
        return properties

    def tags(self, raw: Mapping[str, str]) -> dict[str, str]:
        """Return the tags that are compared."""
        intern = sys.intern
        if self._ignore_tags:
            raw = comparable(raw, self._ignore_tags)
        return {intern(key): intern(value) for key, value in raw.items() if key[:4] != "aws:"}
