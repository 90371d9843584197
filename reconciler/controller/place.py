"""Where a target is: what its mode and its suspension hold for, besides its name.

A mode holds for a target's name and for its place: account, region, role and what else decides where requests go.
The repository decides both, so a commit could otherwise give the mode of one account to another.
"""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import asdict, dataclass, replace
from typing import Self

from reconciler.model.target import Project, Target


@dataclass(frozen=True, slots=True)
class Place:
    """The account, region and credentials of a target. ``account`` is empty until it is known; ``sandbox`` is relative."""

    region: str
    account: str = ""
    role: str = ""
    profile: str = ""
    endpoint: str = ""
    sandbox: str = ""

    @classmethod
    def of(cls, target: Target, project: Project) -> Self:
        """Return the place that a project file gives to a target."""
        role = target.role_arn or ""
        return cls(
            target.region,
            target.account_id or (role.split(":")[4] if role else ""),
            role,
            target.profile or "",
            (target.endpoint_url or "").rstrip("/"),
            os.path.relpath(target.sandbox, project.root) if target.sandbox else "",
        )

    @classmethod
    def from_json(cls, text: str) -> Self | None:
        """Return a place from its JSON, or ``None`` from an empty text. Raises ``ValueError`` or ``TypeError``."""
        return cls(**json.loads(text)) if text else None

    def to_json(self) -> str:
        """Return the place as JSON."""
        return json.dumps(asdict(self))

    def __str__(self) -> str:
        parts = {
            "account": self.account,
            "role": self.role,
            "profile": self.profile,
            "endpoint": self.endpoint,
            "sandbox": self.sandbox,
        }
        return ", ".join([self.region, *(f"{name} {value}" for name, value in parts.items() if value)])

    @property
    def check(self) -> str:
        """Eight hexadecimal digits of this place, for ``run --accept NAME@CHECK``: what is accepted is then what was seen."""
        return hashlib.sha256(self.to_json().encode()).hexdigest()[:8]

    def is_seen_as(self, check: str) -> bool:
        """Return whether a check is of this place, as it is or before its account was known."""
        return check in (self.check, replace(self, account="").check)

    def admits(self, other: Place) -> bool:
        """Return whether another place is this one, as far as is known: accounts are compared if both are."""
        is_same_account = not (self.account and other.account) or self.account == other.account
        return is_same_account and replace(self, account="") == replace(other, account="")

    def is_location_of(self, other: Place) -> bool:
        """Return whether both are the same account and region of the same server, with any credentials."""
        is_same_account = (
            self.account == other.account
            if self.account and other.account
            else (self.profile, self.role) == (other.profile, other.role)
        )
        return is_same_account and (self.region, self.endpoint, self.sandbox) == (
            other.region,
            other.endpoint,
            other.sandbox,
        )


def unaccepted(name: str, accepted: Place | None, place: Place | None) -> str:
    """Return why a target is only observed: it is new, or it was moved."""
    what = f"was moved from {accepted} to {place}" if accepted else f"is new ({place})"
    return f"the target {what} and is only observed; {accept_hint(name, place)}"


def accept_hint(name: str, place: Place | None) -> str:
    """Return the command that gives a target its mode where it is now."""
    return f"to give it its mode: ivs-reconciler run --accept {name}{f'@{place.check}' if place else ''}"
