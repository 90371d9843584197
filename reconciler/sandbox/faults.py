"""Failures on request: rules that are matched against each call, in the order they were given.

A rule says which calls (`operation`, caller, `region`, the ARN in the request), how many of them
(`skip` some, then every `every`-th, `times` in all), when (`before` the work or `after` it was
committed) and what happens. After the work means: the state has changed, and the caller does not
learn it; that is how a create is lost on the real service.

Most rules are accidents and hit once unless told otherwise. Some are conditions (`STANDING`): a
missing permission, expired credentials, a wrong clock; they hold until they are cleared.

What a fault that is an answer says, in the words of the service that was called.

IAM's text names who asked, for which action, on which resource (user guide: security and IAM). The
neighbouring services have codes of their own for the same things, and those that speak JSON 1.1
answer them with 400.
"""

from __future__ import annotations

import json
import random
import re
import threading
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from fnmatch import fnmatchcase
from typing import Any
from urllib.parse import unquote

from reconciler.sandbox.auth import Caller, late_text
from reconciler.sandbox.ivs.common import KINDS
from reconciler.sandbox.routing import TAGS_PATH
from reconciler.sandbox.wire import ApiError, Request, is_number

EFFECTS = ("throttle", "error", "deny", "expire", "skew", "reset", "hang", "truncate", "delay", "html")
STANDING = ("deny", "expire", "skew")
REFUSALS = ("throttle", "error", *STANDING)
MOMENTS = ("before", "after")
MAX_DELAY = 300.0
_CODE = re.compile(r"[!-~]{1,200}")
_ARNS = re.compile(r"arn:aws[a-z-]*:[^\s\"\\,]+")


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """What a rule is held against: one call.

    `text` is where an ARN is looked for, `resource` what IAM would say the call is about, and `also`
    are the further actions that IAM asks for (a create with tags needs TagResource as well).
    """

    service: str
    operation: str
    account: str = ""
    region: str = ""
    access_key: str = ""
    text: str = ""
    resource: str = ""
    also: tuple[str, ...] = ()

    def actions(self, effect: str) -> tuple[str, ...]:
        """Return what the call is called; only a missing permission looks at more, or less, than the operation.

        GetCallerIdentity needs no permission and cannot be denied (API reference of STS).
        """
        if effect != "deny":
            return (self.operation,)
        return () if self.service == "sts" else (self.operation, *self.also)


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """One rule.

    effect: `throttle` (429), `error` (with `code`, and `status` for codes the model does not know),
    `deny` (no permission, in IAM's words), `expire` (the credentials have expired), `skew` (the
    caller's clock is a quarter of an hour slow), `reset` (the connection is reset), `hang` (no answer for `seconds`, then a reset), `truncate`
    (half an answer), `delay` (a late but right answer), `html` (a 503 page of the edge, no JSON).
    operation: names or patterns, separated by commas; with a service before a colon
    (`servicequotas:*`) only that service's operations.
    arn: part of an ARN the request names, or a pattern with * and ? that one of them, or the
    resource the call is about, fits as a whole.
    access_key: only calls signed with this key, as when a session's credentials are renewed.
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
    access_key: str = ""
    arn: str = ""

    def __post_init__(self) -> None:
        """Refuse rules that could never do what they say."""
        texts = (
            self.effect,
            self.operation,
            self.when,
            self.code,
            self.message,
            self.account,
            self.region,
            self.access_key,
            self.arn,
        )
        if not all(isinstance(text, str) for text in texts):
            raise TypeError("names, codes and texts are strings")
        counts = (self.times, self.skip, self.every, self.status)
        if not all(count is None or type(count) is int for count in counts) or None in (self.skip, self.every):
            raise TypeError("times, skip, every and status are whole numbers")
        if not _CODE.fullmatch(self.code):
            raise ValueError("a code is one word of ASCII letters, digits and signs")
        if not is_number(self.probability) or not 0 <= self.probability <= 1:
            raise ValueError("probability lies between 0 and 1")
        if self.effect not in EFFECTS:
            raise ValueError(f"effect {self.effect!r} is not one of {', '.join(EFFECTS)}")
        if self.when not in MOMENTS:
            raise ValueError(f"when {self.when!r} is not one of {', '.join(MOMENTS)}")
        if self.effect in STANDING and self.when == "after":
            raise ValueError(f"{self.effect} is answered before any work: use when=before")
        if self.effect == "truncate" and self.when == "before":
            raise ValueError("only an answer can be truncated: use when=after")
        if self.every < 1 or self.skip < 0 or (self.times is not None and self.times < 1):
            raise ValueError("every and times are at least 1, skip at least 0")
        if not is_number(self.seconds) or not 0 <= self.seconds <= MAX_DELAY:
            raise ValueError(f"seconds lies between 0 and {MAX_DELAY:.0f}")
        if self.status is not None and not 400 <= self.status <= 599:
            raise ValueError("status lies between 400 and 599")

    def concerns(self, subject: Subject) -> bool:
        """Whether a call is of the kind the rule is about."""
        return (
            self.account in ("", subject.account)
            and self.region in ("", subject.region)
            and self.access_key in ("", subject.access_key)
            and any(self.names(action, subject) for action in subject.actions(self.effect))
            and self._points_at(subject)
        )

    def names(self, action: str, subject: Subject) -> bool:
        """Whether the rule is about an action of the call's service."""
        for pattern in self.operation.split(","):
            name = f"{subject.service}:{action}" if ":" in pattern else action
            if fnmatchcase(name, pattern.strip()):
                return True
        return False

    def _points_at(self, subject: Subject) -> bool:
        if "*" in self.arn or "?" in self.arn:
            return any(fnmatchcase(arn, self.arn) for arn in (subject.resource, *_ARNS.findall(subject.text)))
        return self.arn in subject.text or self.arn in subject.resource


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

    def clear(self, effect: str = "", operation: str = "") -> None:
        """Disarm all, or those of an effect or with exactly this operation."""
        with self._lock:
            self._armed = [
                armed
                for armed in self._armed
                if (effect and armed.fault.effect != effect) or (operation and armed.fault.operation != operation)
            ]

    @property
    def active(self) -> bool:
        """Whether there are any rules; without, a call need not be looked into."""
        return bool(self._armed)

    def describe(self) -> list[dict[str, Any]]:
        """Return the rules with how many calls each has seen and hit."""
        with self._lock:
            return [{**asdict(armed.fault), "seen": armed.seen, "hit": armed.hit} for armed in self._armed]

    def take(self, subject: Subject) -> Faults:
        """Decide what is to happen to this call, and count it."""
        delay = 0.0
        chosen: dict[str, Fault] = {}
        with self._lock:
            for armed in self._armed:
                fault = armed.fault
                if not fault.concerns(subject):
                    continue
                if fault.effect != "delay" and fault.when in chosen:
                    continue
                if armed.takes(self._rng):
                    if fault.effect == "delay":
                        delay += fault.seconds
                    else:
                        chosen[fault.when] = fault
        return Faults(delay, chosen.get("before"), chosen.get("after"))


CLOCK_AHEAD = 900.0

# Service, then effect: code and status, where they are not those of ivs.
_CODES: Mapping[tuple[str, str], tuple[str, int]] = {
    ("ivs", "throttle"): ("ThrottlingException", 429),
    ("ivs", "deny"): ("AccessDeniedException", 403),
    ("ivs", "expire"): ("ExpiredTokenException", 403),
    ("ivs", "skew"): ("InvalidSignatureException", 403),
    ("sts", "throttle"): ("Throttling", 400),
    ("sts", "expire"): ("ExpiredToken", 403),
    ("sts", "skew"): ("SignatureDoesNotMatch", 403),
    ("servicequotas", "throttle"): ("TooManyRequestsException", 400),
    ("servicequotas", "deny"): ("AccessDeniedException", 400),
    ("servicequotas", "expire"): ("ExpiredTokenException", 400),
    ("servicequotas", "skew"): ("InvalidSignatureException", 400),
    ("cloudtrail", "throttle"): ("ThrottlingException", 400),
    ("cloudtrail", "deny"): ("AccessDeniedException", 400),
    ("cloudtrail", "expire"): ("ExpiredTokenException", 400),
    ("cloudtrail", "skew"): ("InvalidSignatureException", 400),
}
# What the front's refusals are called where a signature is for STS, which speaks an older protocol.
_STS_CODES: Mapping[str, str] = {
    "ExpiredTokenException": "ExpiredToken",
    "IncompleteSignatureException": "IncompleteSignature",
    "InvalidSignatureException": "SignatureDoesNotMatch",
    "MissingAuthenticationTokenException": "MissingAuthenticationToken",
    "UnrecognizedClientException": "InvalidClientTokenId",
}
_ANYTHING = "*"
# These take no resource (Service Authorization Reference).
_WITHOUT_RESOURCE = frozenset({"ListAdConfigurations", "ListPlaybackRestrictionPolicies", "UpdateAdConfiguration"})
# Tags in these calls need the permission to tag as well (Service Authorization Reference).
_TAGGING_PREFIXES = ("Create", "Import")
_SUBJECTS = ("resourceArn", "arn", "channelArn")


def subject_of(service: str, operation: str, caller: Caller, request: Request) -> Subject:
    """Return a call as fault rules look at it."""
    text = f"{unquote(request.path)} {request.body.decode('utf-8', 'replace')}"
    document = _document(request) if service == "ivs" else {}
    tagging = service == "ivs" and operation.startswith(_TAGGING_PREFIXES) and bool(document.get("tags"))
    return Subject(
        service=service,
        operation=operation,
        account=caller.account,
        region=caller.region,
        access_key=caller.access_key,
        text=text,
        resource=_resource(service, operation, caller, request, document),
        also=("TagResource",) if tagging else (),
    )


def unauthenticated(service: str, error: ApiError) -> ApiError:
    """Return the refusal of a signature as the service that was called puts it."""
    if service == "sts":
        return ApiError(_STS_CODES[error.code], error.message, status=403)
    return error if service == "ivs" else ApiError(error.code, error.message, status=400)


def asked_error(fault: Fault, subject: Subject, caller: Caller, request: Request, now: float) -> ApiError:
    """Return the error a rule asks for."""
    if fault.effect == "error":
        return ApiError(fault.code, fault.message, status=fault.status)
    code, status = _CODES[subject.service, fault.effect]
    return ApiError(code, _text(fault, subject, caller, request, now), status=status)


def _text(fault: Fault, subject: Subject, caller: Caller, request: Request, now: float) -> str:
    match fault.effect:
        case "deny":
            action = subject.operation if fault.names(subject.operation, subject) else subject.also[0]
            return f"User: {caller.arn} is not authorized to perform: {subject.service}:{action} on resource: {subject.resource}"
        case "expire":
            return "The security token included in the request is expired"
        case "skew":
            stamp = request.headers.get("x-amz-date") or datetime.fromtimestamp(now, UTC).strftime("%Y%m%dT%H%M%SZ")
            return late_text(stamp, now + CLOCK_AHEAD)
        case _ if subject.service == "ivs":
            return f"Operation: ivs:{subject.operation} exceeded call rate: 5"
        case _:
            return "Rate exceeded"


def _document(request: Request) -> dict[str, Any]:
    try:
        found = json.loads(request.body or b"{}")
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def _resource(service: str, operation: str, caller: Caller, request: Request, document: dict[str, Any]) -> str:
    """Return the ARN a call is about; a pattern where it makes or lists things of a kind."""
    if service != "ivs" or operation in _WITHOUT_RESOURCE:
        return _ANYTHING
    if request.path.startswith(TAGS_PATH):
        return unquote(request.path.removeprefix(TAGS_PATH))
    for member in _SUBJECTS:
        if isinstance(document.get(member), str):
            return str(document[member])
    arns = document.get("arns")
    if isinstance(arns, list) and arns:
        return str(arns[0])
    kind = next(
        (kind.type for kind in KINDS.values() if operation.endswith((kind.member[1:], kind.plural[1:]))), "channel"
    )
    return f"arn:aws:ivs:{caller.region}:{caller.account}:{kind}/{_ANYTHING}"
