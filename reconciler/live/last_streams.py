"""When channels that claim one address were last on air: the encoder's side of the question which of them is meant.

It is asked only where two channels claim one address, which nobody intends, so it costs an account in order nothing.
The service remembers sessions for 60 days (user guide, stream health); one that has no end is on air.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from reconciler.errors import AwsError
from reconciler.live.answer import ReadCalls
from reconciler.live.unreadable import denied
from reconciler.model.resource import LastStream, LiveResource
from reconciler.model.tags import ID, STACK

_OPERATION = "ListStreamSessions"
_PAGE = 100
"""Sessions looked at for each channel. Their order is documented nowhere; a channel with more of them is in use, whichever these are."""


def last_streams(
    calls: ReadCalls, channels: Iterable[LiveResource], stack: str
) -> tuple[Mapping[str, LastStream], str]:
    """Return the last broadcast of each channel that shares its address, and why they could not be seen where they could not. Raises ``AwsError``."""
    found: dict[str, LastStream] = {}
    for channel in _sharing(channels, stack):
        try:
            sessions = _sessions(calls.call(_OPERATION, {"channelArn": channel.arn, "maxResults": _PAGE}).data)
        except AwsError as error:
            return {}, denied(error)
        if sessions:
            found[channel.arn] = max(sessions)
    return found, ""


def _sharing(channels: Iterable[LiveResource], stack: str) -> Iterator[LiveResource]:
    ours = [channel for channel in channels if channel.tags.get(STACK) == stack and ID in channel.tags]
    claims = Counter(channel.tags[ID] for channel in ours)
    return (channel for channel in ours if claims[channel.tags[ID]] > 1)


def _sessions(data: Mapping[str, Any]) -> list[LastStream]:
    return [
        LastStream(not item.get("endTime"), str(item.get("startTime") or ""))
        for item in data.get("streamSessions") or ()
    ]
