"""What an operation gets to work with, and the answers every operation shares."""

from __future__ import annotations

import random
import string
from collections.abc import Callable
from dataclasses import dataclass

from reconciler.sandbox.identity import Caller
from reconciler.sandbox.model import JsonDict
from reconciler.sandbox.settings import Settings, quota
from reconciler.sandbox.shapes import violation_text
from reconciler.sandbox.wire import ApiError
from reconciler.sandbox.world import Row, World

ALPHANUMERIC = string.ascii_letters + string.digits
# Any byte as a letter or digit: an id needs no even distribution, and this is thirty times faster than choosing each.
_LETTERS = bytes(ord(ALPHANUMERIC[byte % len(ALPHANUMERIC)]) for byte in range(256))


@dataclass(slots=True)
class Call:
    """One validated call inside its transaction."""

    operation: str
    caller: Caller
    world: World
    settings: Settings
    rng: random.Random

    def assumes(self, name: str) -> str:
        """Return the answer to an open question about the service; see `assumptions`."""
        return self.settings.assume[name]

    def identifier(self, length: int = 12) -> str:
        """Random letters and digits, the form of the service's ids."""
        return self.rng.randbytes(length).translate(_LETTERS).decode()

    def new_arn(self, kind: str) -> str:
        """Return a fresh ARN of a kind."""
        world = self.world
        return f"arn:aws:ivs:{world.region}:{world.account}:{kind}/{self.identifier()}"

    def see(self, arn: str) -> Row:
        """Return the resource a read asks for, or the error that says why not."""
        self.refuse_foreign(arn)
        return self.world.see(arn) or _missing(arn)

    def find(self, arn: str) -> Row:
        """Return the resource a write is about, or the error that says why not."""
        self.refuse_foreign(arn)
        return self.world.find(arn) or _missing(arn)

    def refuse_foreign(self, arn: str) -> None:
        """Another account's ARN is denied; another region's simply is not found here (assumed)."""
        parts = arn.split(":")
        if len(parts) > 4 and parts[4] != self.world.account:
            raise ApiError(
                "AccessDeniedException",
                f"User: {self.caller.arn} is not authorized to perform: ivs:{self.operation} on resource: {arn}",
            )

    def refuse_over_quota(self, name: str, present: int) -> None:
        """402 is the service's quota status (service model)."""
        limit = quota(self.world.connection, name, self.world.account, self.world.region)
        if present >= limit:
            raise ApiError(
                "ServiceQuotaExceededException",
                f"Your request would cause the quota for {name} to be exceeded: {limit}",
            )


Handler = Callable[[Call, JsonDict], JsonDict]


def validation(text: str) -> ApiError:
    """Return the error for a broken rule between members."""
    return ApiError("ValidationException", text)


def refuse(problems: list[str]) -> None:
    """Refuse a request that breaks rules, with all of them in one answer."""
    if problems:
        raise validation(problems[0] if len(problems) == 1 else violation_text(problems))


def conflict(text: str) -> ApiError:
    """Return the error for what the resource's present state forbids."""
    return ApiError("ConflictException", text)


def not_found(arn: str) -> ApiError:
    """No such resource."""
    return ApiError("ResourceNotFoundException", f"Resource: {arn} not found")


def _missing(arn: str) -> Row:
    raise not_found(arn)
