"""Pages of one list operation, by hand: botocore has no paginator for every list, and none that keeps a pace.

A page may be empty and still have a successor, so the token alone says when it ends; missing, null and ``""`` all mean the end.
A missing list is an error: taking it for an empty one would plan to create everything anew.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from typing import Any

from reconciler.errors import AwsError
from reconciler.live.answer import ReadCalls
from reconciler.model.kinds import Kind

Item = Mapping[str, Any]
"""One resource as an answer holds it."""


def items(
    calls: ReadCalls,
    operation: str,
    members: str,
    page_size: int,
    parameters: Mapping[str, object],
    stop: threading.Event,
) -> Iterator[list[Item]]:
    """Yield the items of each page, each ARN once.

    A token that AWS does not take any more starts the list over, once; items seen before are not repeated then.
    Raises ``AwsError``. Ends early when ``stop`` is set.
    """
    seen: set[str] = set()
    used: set[str] = set()
    token = ""
    restarted = False
    while not stop.is_set():
        request = {**parameters, "maxResults": page_size, **({"nextToken": token} if token else {})}
        try:
            data = calls.call(operation, request).data
        except AwsError as error:
            if not token or restarted or error.status != 400:
                raise
            restarted, token = True, ""
            used.clear()
            continue
        yield _fresh(data, operation, members, seen)
        following = data.get("nextToken")
        if not following:
            return
        token = str(following)
        if token in used:
            raise AwsError(
                f"{operation}: AWS gave the same page token twice, so the list would never end; try again later",
                operation=operation,
                code="RepeatedToken",
            )
        used.add(token)


def whole_list(calls: ReadCalls, kind: Kind, parameters: Mapping[str, object]) -> Iterator[Item]:
    """Yield every item of a kind's list, with these parameters beside the page size. Raises ``AwsError``."""
    return (
        item
        for page in items(calls, kind.list, kind.members, kind.page_size, parameters, threading.Event())
        for item in page
    )


def _fresh(data: Mapping[str, object], operation: str, members: str, seen: set[str]) -> list[Item]:
    """Return the page's items that were on no page before: items move between pages while a list is read."""
    page = data.get(members)
    if not isinstance(page, list):
        raise AwsError(
            f"{operation}: the answer holds no list {members!r}; nothing can be concluded from it",
            operation=operation,
            code="UnreadableAnswer",
        )
    fresh = []
    for item in page:
        key = str(item.get("arn") or item.get("channelArn"))
        if key not in seen:
            seen.add(key)
            fresh.append(item)
    return fresh
