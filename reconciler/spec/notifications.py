"""The project file's ``notifications``: what the fields of one channel say together, and the channels as values."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from reconciler.model.notification import DEFAULT_TOPICS, Channel, Topic, Way
from reconciler.spec.problems import Fault, dotted, shown


def notification_faults(raw: Mapping[str, Any], targets: Mapping[str, Any]) -> Iterator[Fault]:
    """Yield what is wrong with channels whose fields have the right shape each."""
    for name, channel in raw.items():
        if not isinstance(channel, Mapping):
            continue
        path = ("notifications", name)
        ways = [way.value for way in Way if channel.get(way.value) is not None]
        if len(ways) != 1:
            what = f"has {' and '.join(ways)}" if ways else "does not say how it is reached"
            yield Fault(
                path, f"{dotted(path)} {what}", f"write one of {', '.join(way.value for way in Way)}", at_key=True
            )
        for index, target in enumerate(channel.get("targets") or ()):
            if target not in targets:
                yield Fault(
                    (*path, "targets", index),
                    f"{dotted(path)}: there is no target {shown(target)}",
                    f"the targets are {', '.join(map(str, targets))}",
                )
        for index, topic in enumerate(channel.get("about") or ()):
            if topic not in set(Topic):
                yield Fault(
                    (*path, "about", index),
                    f"{dotted(path)}: {shown(topic)} is no topic",
                    f"the topics are {', '.join(Topic)}",
                )


def channels_of(raw: Mapping[str, Any]) -> tuple[Channel, ...]:
    """Return the channels of a ``notifications`` block without faults, in the order in which they are written."""
    return tuple(_channel(name, channel) for name, channel in raw.items())


def _channel(name: str, raw: Mapping[str, Any]) -> Channel:
    (way,) = (way for way in Way if raw.get(way.value) is not None)
    how = raw[way.value]
    about = raw.get("about")
    return Channel(
        name=name,
        way=way,
        url_env=how.get("urlEnv") or "",
        secret_env=how.get("secretEnv") or "",
        arn=how.get("topicArn") or how.get("busArn") or "",
        profile=how.get("profile"),
        role_arn=how.get("roleArn"),
        topics=DEFAULT_TOPICS if about is None else frozenset(map(Topic, about)),
        targets=frozenset(raw.get("targets") or ()),
    )
