"""What the public sources do not say, and what this sandbox does instead: one switch for each.

The first option of each is the one recommended and used unless asked otherwise; the others are there
so that a client can be shown to be right under either answer.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Assumption:
    """One open question and its possible answers, the usual one first."""

    question: str
    options: tuple[str, ...]


ASSUMPTIONS: Mapping[str, Assumption] = {
    "list-order": Assumption(
        "in which order lists come (shuffled: another order each time, the same within one listing)",
        ("creation", "shuffled"),
    ),
    "list-pages": Assumption("whether pages are full (short: half, and an empty one at the end)", ("full", "short")),
    "batch-order": Assumption("in which order batch answers come", ("request", "shuffled")),
    "batch-code": Assumption("what the code of a batch error is", ("status", "name")),
    "set-order": Assumption("in which order countries, origins, renditions and storage come back", ("kept", "sorted")),
    "unset-members": Assumption('whether members that are not set are shown, as "" or {}', ("shown", "absent")),
    "name-filter": Assumption("what filterByName finds", ("exact", "prefix")),
    "live-update": Assumption("what the update of a live channel answers", ("conflict", "validation", "accepted")),
    "unsettled-delete": Assumption("what deleting something in CREATING or UPDATING answers", ("conflict", "accepted")),
    "unsettled-reference": Assumption(
        "what attaching something in CREATING answers", ("conflict", "validation", "accepted")
    ),
    "unknown-reference": Assumption("what attaching something unknown answers", ("not-found", "validation")),
    "attached-delete": Assumption(
        "what deleting an attached policy, ad or slate configuration answers", ("conflict", "accepted")
    ),
    "idle-preset": Assumption("what a preset for BASIC or STANDARD does", ("refused", "ignored")),
    "multitrack-update": Assumption("what multitrack members left out of an update become", ("kept", "defaults")),
    "empty-ad-reference": Assumption('what adConfigurationArn "" does in an update', ("detaches", "refused")),
    "empty-lists": Assumption("what an empty list does in the update of a policy", ("clears", "ignored")),
    "duplicate-key": Assumption(
        "which comes first for a known public key while the quota is used up", ("conflict", "quota")
    ),
    "rate-burst": Assumption("how many calls a full bucket lets through at once", ("rate", "one")),
    "rate-counting": Assumption("how calls are counted (seconds: anew at every whole second)", ("refill", "seconds")),
    "retry-after": Assumption("whether a 429 says when to come back", ("absent", "present")),
}


class Assumptions:
    """The answers of one server process."""

    def __init__(self, given: Mapping[str, str] | None = None) -> None:
        """Start from the usual answers, with some replaced."""
        self._started = dict(given or {})
        self._chosen: dict[str, str] = {}
        self.restore()

    def restore(self) -> None:
        """Go back to how this process was started."""
        self._chosen = {name: assumption.options[0] for name, assumption in ASSUMPTIONS.items()}
        for name, option in self._started.items():
            self.choose(name, option)

    def choose(self, name: str, option: str) -> None:
        """Answer one question otherwise."""
        assumption = ASSUMPTIONS.get(name)
        if assumption is None:
            raise ValueError(f"no assumption {name!r}; there are {', '.join(ASSUMPTIONS)}")
        if option not in assumption.options:
            raise ValueError(f"{name}: {option!r} is not one of {', '.join(assumption.options)}")
        self._chosen[name] = option

    def __getitem__(self, name: str) -> str:
        """Return the answer that holds now."""
        return self._chosen[name]

    def describe(self) -> list[dict[str, object]]:
        """Return every question with its answer and the options."""
        return [
            {"name": name, "chosen": self._chosen[name], "options": list(each.options), "question": each.question}
            for name, each in ASSUMPTIONS.items()
        ]
