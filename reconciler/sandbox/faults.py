"""Failures on request: rules that are matched against each call, in the order they were given.

A rule says which calls (`operation`, `account`, `region`, the ARN in the request), how many of them
(`skip` some, then every `every`-th, `times` in all), when (`before` the work or `after` it was
committed) and what happens. After the work means: the state has changed, and the caller does not
learn it; that is how a create is lost on the real service.
"""

from __future__ import annotations

import random
import threading
from dataclasses import asdict, dataclass
from fnmatch import fnmatchcase
from typing import Any

EFFECTS = ("throttle", "error", "reset", "hang", "truncate", "delay", "html")
MOMENTS = ("before", "after")
MAX_DELAY = 300.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """One rule.

    effect: `throttle` (429), `error` (with `code`, and `status` for codes the model does not know),
    `reset` (the connection is reset), `hang` (no answer for `seconds`, then a reset), `truncate`
    (half an answer), `delay` (a late but right answer), `html` (a 503 page of the edge, no JSON).
    times: how many calls it hits; None means for ever.
    """

    effect: str
    operation: str = "*"
    when: str = "before"
    times: int | None = 1
    skip: int = 0
    every: int = 1
    probability: float = 1.0
    code: str = "InternalServerException"
    message: str = "a fault was asked for"
    status: int | None = None
    seconds: float = 1.0
    account: str = ""
    region: str = ""
    arn: str = ""

    def __post_init__(self) -> None:
        """Refuse rules that could never do what they say."""
        texts = (self.effect, self.operation, self.when, self.code, self.message, self.account, self.region, self.arn)
        if not all(isinstance(text, str) for text in texts):
            raise TypeError("names, codes and texts are strings")
        if self.effect not in EFFECTS:
            raise ValueError(f"effect {self.effect!r} is not one of {', '.join(EFFECTS)}")
        if self.when not in MOMENTS:
            raise ValueError(f"when {self.when!r} is not one of {', '.join(MOMENTS)}")
        if self.effect == "truncate" and self.when == "before":
            raise ValueError("only an answer can be truncated: use when=after")
        if self.every < 1 or self.skip < 0 or (self.times is not None and self.times < 1):
            raise ValueError("every and times are at least 1, skip at least 0")
        if not 0 <= self.seconds <= MAX_DELAY:
            raise ValueError(f"seconds lies between 0 and {MAX_DELAY:.0f}")
        if self.status is not None and not 400 <= self.status <= 599:
            raise ValueError("status lies between 400 and 599")

    def concerns(self, operation: str, account: str, region: str, text: str) -> bool:
        """Whether a call is of the kind the rule is about."""
        return fnmatchcase(operation, self.operation) and self.account in ("", account) and self.region in ("", region) and self.arn in text


@dataclass(slots=True)
class _Armed:
    fault: Fault
    seen: int = 0
    hit: int = 0

    def takes(self, rng: random.Random) -> bool:
        """Count a call and decide whether it is hit."""
        fault = self.fault
        if self.is_spent():
            return False
        self.seen += 1
        place = self.seen - fault.skip
        if place < 1 or (place - 1) % fault.every or rng.random() >= fault.probability:
            return False
        self.hit += 1
        return True

    def is_spent(self) -> bool:
        return self.fault.times is not None and self.hit >= self.fault.times


@dataclass(frozen=True, slots=True)
class Faults:
    """What happens to one call: a delay, and at most one fault before and one after the work."""

    delay: float = 0.0
    before: Fault | None = None
    after: Fault | None = None


class FaultRules:
    """The rules of one server; safe to use from many threads."""

    def __init__(self, rng: random.Random) -> None:
        """`rng` decides rules with a probability, so that seeded runs repeat."""
        self._rng = rng
        self._lock = threading.Lock()
        self._armed: list[_Armed] = []

    def add(self, fault: Fault) -> None:
        """Arm one more rule."""
        with self._lock:
            self._armed.append(_Armed(fault))

    def clear(self) -> None:
        """Disarm all."""
        with self._lock:
            self._armed.clear()

    @property
    def active(self) -> bool:
        """Whether there are any rules; without, a call need not be looked into."""
        return bool(self._armed)

    def describe(self) -> list[dict[str, Any]]:
        """Return the rules with how many calls each has seen and hit."""
        with self._lock:
            return [{**asdict(armed.fault), "seen": armed.seen, "hit": armed.hit} for armed in self._armed]

    def take(self, operation: str, account: str, region: str, text: str = "") -> Faults:
        """Decide what is to happen to this call, and count it. `text` is where a rule's ARN is looked for."""
        if not self._armed:
            return Faults()
        delay = 0.0
        chosen: dict[str, Fault] = {}
        with self._lock:
            for armed in self._armed:
                fault = armed.fault
                if not fault.concerns(operation, account, region, text):
                    continue
                if fault.effect != "delay" and fault.when in chosen:
                    continue
                if armed.takes(self._rng):
                    if fault.effect == "delay":
                        delay += fault.seconds
                    else:
                        chosen[fault.when] = fault
        return Faults(delay, chosen.get("before"), chosen.get("after"))
