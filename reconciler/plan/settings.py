"""Compares the settings of two revisions of a project file: what changed, and what widens what an apply may do.

A plan shows resources; a change of ``prune``, a limit or an endpoint changes what the next apply may do to them.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from reconciler.model.target import LIMITS, Guardrails, OnLive, Project
from reconciler.plan.plan import SettingChange
from reconciler.terminal import mask_urls

_SHOWN_AS_RESOURCES = ("defaults",)
_IDENTITY = frozenset({"region", "endpointUrl", "roleArn", "externalId", "profile"})
"""Fields of a target that decide where, and as whom, an apply works."""

_CHECKS = frozenset({"accountId", "lock", "sandbox"})
"""Fields of a target that protect while they are set; adding one widens nothing."""


def changed_settings(
    base: Mapping[str, Any], head: Mapping[str, Any], before_in_effect: Project | None, in_effect: Project
) -> tuple[SettingChange, ...]:
    """Return the settings that differ between two project files as written, those that widen what an apply may do first.

    The projects have the guardrails in effect with each; ``None`` means the defaults.
    """
    before, after = dict(_flat(base, ())), dict(_flat(head, ()))
    known = {path[1] for path in before if path[:1] == ("targets",) and len(path) > 1}
    changes = [
        SettingChange(
            ".".join(path),
            _text(before, path),
            _text(after, path),
            widens=_widens(
                path,
                before.get(path),
                after.get(path),
                known,
                _limits(before_in_effect, path),
                _limits(in_effect, path),
            ),
        )
        for path in dict.fromkeys((*after, *before))
        if path not in before or path not in after or before[path] != after[path]
    ]
    return tuple(sorted(changes, key=lambda change: not change.widens))


def _limits(project: Project | None, path: tuple[str, ...]) -> Guardrails:
    if project is None:
        return Guardrails()
    return project.guardrails_of(path[1]) if path[0] == "targets" and len(path) > 1 else project.guardrails


def _flat(value: Mapping[str, Any], path: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], Any]]:
    for key, item in value.items():
        name = str(key)
        if not path and (name in _SHOWN_AS_RESOURCES or name.startswith("x-")):
            continue
        if isinstance(item, Mapping) and item:
            yield from _flat(item, (*path, name))
        else:
            yield (*path, name), item


def _text(values: Mapping[tuple[str, ...], Any], path: tuple[str, ...]) -> str | None:
    """Return a value as JSON, URLs masked, or ``None`` if it is not set."""
    if path not in values:
        return None
    value = values[path]
    return json.dumps(mask_urls(value) if isinstance(value, str) else value, ensure_ascii=False, default=str)


def _widens(
    path: tuple[str, ...], before: Any, after: Any, known: set[str], limits: Guardrails, head_limits: Guardrails
) -> bool:
    match path:
        case ("stack",):
            return True
        case ("ignoreTags",) | ("outputs",):
            return bool(set(map(str, after or ())) - set(map(str, before or ())))
        case ("targets", target, "guardrails", *_) if target not in known:
            return False
        case ("guardrails", name) | ("targets", _, "guardrails", name) if name in LIMITS:
            was, now = getattr(limits, LIMITS[name]), getattr(head_limits, LIMITS[name])
            return was is not None and (now is None or now > was)
        case ("guardrails", "onLive") | ("targets", _, "guardrails", "onLive"):
            return limits.on_live is OnLive.BLOCK and head_limits.on_live is not OnLive.BLOCK
        case ("guardrails",) | ("targets", _, "guardrails"):
            return limits.stricter(head_limits) != head_limits
        case ("targets", target, name, *_):
            if name == "prune":
                return after is True
            if target not in known:
                return name == "region"  # an account or region that an apply did not work in
            return name in _IDENTITY or (name in _CHECKS and before is not None)
        case _:
            return False
