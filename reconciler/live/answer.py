"""What a call brings back, and the one method that readers need. Values only; nothing here imports boto3."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple, Protocol


class Answer(NamedTuple):
    """The body of AWS's answer, secrets dropped, with the id under which AWS knows the request.

    ``calls`` counts the requests that were sent for it, repetitions included.
    """

    data: Mapping[str, object]
    request_id: str = ""
    calls: int = 1


class ReadCalls(Protocol):
    """The way to AWS as a reader sees it: an operation and its parameters in, an answer out. Raises ``AwsError``."""

    def call(self, operation: str, parameters: Mapping[str, object], /) -> Answer:
        """Send one call."""
        ...
