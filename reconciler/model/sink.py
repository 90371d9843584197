"""Where the value of a stream key is handed over to: a name and nothing of the value, so it may stand in plans, tags and reports."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum


class Store(StrEnum):
    """What takes a value."""

    SECRETS_MANAGER = "secretsManager"
    PARAMETER_STORE = "parameterStore"
    FILE = "file"
    """Only on explicit request of one run, never in a spec."""


@dataclass(frozen=True, slots=True)
class Sink:
    """One secret, parameter or file. ``name`` may be the ARN of a secret; ``kms_key`` is the key to encrypt with, empty for the account's own."""

    store: Store
    name: str
    kms_key: str = ""

    def __str__(self) -> str:
        return f"{_WORDS[self.store]} {self.name}"

    @property
    def mark(self) -> str:
        """What the key's tag says once the value is there."""
        return f"{self.store.value}:{self.name}"


_WORDS: Mapping[Store, str] = {
    Store.SECRETS_MANAGER: "the Secrets Manager secret",
    Store.PARAMETER_STORE: "the parameter",
    Store.FILE: "the file",
}


def sink_to_json(sink: Sink) -> dict[str, str]:
    """Return the sink as plain JSON."""
    return {"store": sink.store.value, "name": sink.name, **({"kmsKeyId": sink.kms_key} if sink.kms_key else {})}
