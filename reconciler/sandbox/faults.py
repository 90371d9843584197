"""Faults: rules that make calls fail, matched against each call in the order in which they were added.

A rule says which calls (`operation`, caller, `region`, ARN in the request), how many of them (`skip`, `every`,
`times`), when (`before` or `after` processing) and what happens. After processing, the state has changed and the
caller does not learn it: so a create gets lost on the real service.

Most effects hit one call by default. Persistent ones (a missing permission, expired credentials, a wrong clock) hold
until they are cleared.

Errors have the codes and texts of the called service. IAM's text names caller, action and resource (user guide:
security and IAM).
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
from urllib.parse import parse_qs, unquote

from reconciler.sandbox.auth import Caller, late_text
from reconciler.sandbox.registry import SERVICES
from reconciler.sandbox.wire import TAGS_PATH, ApiError, Request, is_number, tagged_arn

EFFECTS = ("throttle", "error", "deny", "expire", "skew", "reset", "hang", "truncate", "delay", "html")
PERSISTENT = ("deny", "expire", "skew")
REFUSALS = ("throttle", "error", *PERSISTENT)
_MOMENTS = ("before", "after")
_MAX_DELAY = 300.0
_CODE = re.compile(r"[!-~]{1,200}")
_ARNS = re.compile(r"arn:aws[a-z-]*:[^\s\"\\,]+")
_SKEW_SECONDS = 900.0

# Code by effect in REST-JSON, the protocol of the emulated services.
_CODES: Mapping[str, str] = {
    "throttle": "ThrottlingException",
    "deny": "AccessDeniedException",
    "expire": "ExpiredTokenException",
    "skew": "InvalidSignatureException",
}
# The codes of the supporting services that differ.
_SUPPORTING_CODES: Mapping[tuple[str, str], str] = {
    ("servicequotas", "ThrottlingException"): "TooManyRequestsException",
    **{
        (service, code): query_code
        for service in ("sts", "cloudformation")
        for code, query_code in (
            ("AccessDeniedException", "AccessDenied"),
            ("ExpiredTokenException", "ExpiredToken"),
            ("IncompleteSignatureException", "IncompleteSignature"),
            ("InvalidSignatureException", "SignatureDoesNotMatch"),
            ("MissingAuthenticationTokenException", "MissingAuthenticationToken"),
            ("ThrottlingException", "Throttling"),
            ("UnrecognizedClientException", "InvalidClientTokenId"),
        )
    },
}
_ANYTHING = "*"
# Tags in these calls require TagResource as well (Service Authorization Reference).
_TAGGING_PREFIXES = ("Create", "Import")


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """One call as rules match it.

    text: path and body, searched for an ARN.
    resource: the resource that IAM names for the call.
    also: further actions that IAM requires (a create with tags needs TagResource).
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
        """Return the actions that a rule of an effect is matched with: the operation, for `deny` all that IAM requires.

        GetCallerIdentity needs no permission and cannot be denied (API reference of STS).
        """
        if effect != "deny":
            return (self.operation,)
        return () if self.operation == "GetCallerIdentity" else (self.operation, *self.also)


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """One rule.

    effect: `throttle` (429), `error` (with `code`, and `status` for codes that are not in the model),
    `deny` (IAM's AccessDenied), `expire` (expired credentials), `skew` (the caller's clock is 15 minutes slow),
    `reset` (the connection is reset), `hang` (no answer for `seconds`, then a reset), `truncate` (half an answer),
    `delay` (the answer comes `seconds` later), `html` (a 503 page instead of JSON).
    operation: names or patterns, separated by commas; `servicequotas:*` matches one service only.
    arn: part of an ARN in the request; or a pattern with * and ? for a whole ARN, which may also be the resource that
    IAM names.
    access_key: only calls signed with this key.
    times: number of calls that it hits; None for all.
    """

    effect: str
    operation: str = "*"
    when: str = "before"
    times: int | None = 1
    skip: int = 0
    every: int = 1
    probability: float = 1.0
    code: str = "InternalServerException"
    message: str = "fault injected by the sandbox"
    status: int | None = None
    seconds: float = 1.0
    account: str = ""
    region: str = ""
    access_key: str = ""
    arn: str = ""

    def __post_init__(self) -> None:
        """Raise ValueError for a rule that cannot have an effect."""
        if not _CODE.fullmatch(self.code):
            raise ValueError("code must be one word of ASCII letters, digits and signs")
        if not is_number(self.probability) or not 0 <= self.probability <= 1:
            raise ValueError("probability must be between 0 and 1")
        if self.effect not in EFFECTS:
            raise ValueError(f"effect must be one of {', '.join(EFFECTS)}, not {self.effect!r}")
        if self.when not in _MOMENTS:
            raise ValueError(f"when must be one of {', '.join(_MOMENTS)}, not {self.when!r}")
        if self.effect in PERSISTENT and self.when == "after":
            raise ValueError(f"{self.effect} needs when=before: it is answered before processing")
        if self.effect == "truncate" and self.when == "before":
            raise ValueError("truncate needs when=after: only an answer can be truncated")
        if self.every < 1 or self.skip < 0 or (self.times is not None and self.times < 1):
            raise ValueError("every and times must be 1 or more, skip 0 or more")
        if not is_number(self.seconds) or not 0 <= self.seconds <= _MAX_DELAY:
            raise ValueError(f"seconds must be between 0 and {_MAX_DELAY:.0f}")
        if self.status is not None and not 400 <= self.status <= 599:
            raise ValueError("status must be between 400 and 599")

    def matches(self, subject: Subject) -> bool:
        """Return whether the rule is for a call, regardless of counts."""
        return (
            self.account in ("", subject.account)
            and self.region in ("", subject.region)
            and self.access_key in ("", subject.access_key)
            and any(self.matches_action(action, subject) for action in subject.actions(self.effect))
            and self._matches_arn(subject)
        )

    def matches_action(self, action: str, subject: Subject) -> bool:
        """Return whether the rule is for an action of the call's service."""
        for pattern in self.operation.split(","):
            name = f"{subject.service}:{action}" if ":" in pattern else action
            if fnmatchcase(name, pattern.strip()):
                return True
        return False

    def _matches_arn(self, subject: Subject) -> bool:
        if "*" in self.arn or "?" in self.arn:
            return any(fnmatchcase(arn, self.arn) for arn in (subject.resource, *_ARNS.findall(subject.text)))
        return self.arn in subject.text or self.arn in subject.resource


@dataclass(slots=True)
class _Active:
    fault: Fault
    seen: int = 0
    hit: int = 0

    def hits(self, rng: random.Random) -> bool:
        """Count a matching call and return whether the rule hits it."""
        fault = self.fault
        if self.is_spent():
            return False
        self.seen += 1
        number = self.seen - fault.skip
        if number < 1 or (number - 1) % fault.every or rng.random() >= fault.probability:
            return False
        self.hit += 1
        return True

    def is_spent(self) -> bool:
        return self.fault.times is not None and self.hit >= self.fault.times


@dataclass(frozen=True, slots=True)
class Faults:
    """What happens to one call: a delay, and at most one fault before and one after processing."""

    delay: float = 0.0
    before: Fault | None = None
    after: Fault | None = None


class FaultRules:
    """The active rules of a sandbox; safe to use from many threads."""

    def __init__(self, rng: random.Random) -> None:
        """Take the generator for probabilities; with a seed, runs repeat."""
        self._rng = rng
        self._lock = threading.Lock()
        self._active: list[_Active] = []

    def add(self, fault: Fault) -> None:
        """Add a rule."""
        with self._lock:
            self._active.append(_Active(fault))

    def clear(self, effect: str = "", operation: str = "") -> None:
        """Remove all rules, or those with an effect or exactly an operation."""
        with self._lock:
            self._active = [
                each
                for each in self._active
                if (effect and each.fault.effect != effect) or (operation and each.fault.operation != operation)
            ]

    @property
    def active(self) -> bool:
        """Whether there are rules."""
        return bool(self._active)

    def describe(self) -> list[dict[str, Any]]:
        """Return the rules, with the number of calls that each matched (`seen`) and hit."""
        with self._lock:
            return [{**asdict(each.fault), "seen": each.seen, "hit": each.hit} for each in self._active]

    def take(self, subject: Subject) -> Faults:
        """Count a call and return the faults that hit it."""
        delay = 0.0
        chosen: dict[str, Fault] = {}
        with self._lock:
            for each in self._active:
                fault = each.fault
                if not fault.matches(subject):
                    continue
                if fault.effect != "delay" and fault.when in chosen:
                    continue
                if each.hits(self._rng):
                    if fault.effect == "delay":
                        delay += fault.seconds
                    else:
                        chosen[fault.when] = fault
        return Faults(delay, chosen.get("before"), chosen.get("after"))


def subject_of(service: str, operation: str, caller: Caller, request: Request) -> Subject:
    """Return a call as rules match it."""
    text = f"{unquote(request.path)} {request.body.decode('utf-8', 'replace')}"
    document = _document(request) if service in SERVICES else {}
    tagging = service in SERVICES and operation.startswith(_TAGGING_PREFIXES) and bool(document.get("tags"))
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


def error_of(service: str, code: str, message: str) -> ApiError:
    """Return a common error with the code and status of the called service."""
    if service in SERVICES:
        return ApiError(code, message)
    # Services that speak JSON 1.1 answer with 400.
    status = 403 if service in ("sts", "cloudformation") and code != "ThrottlingException" else 400
    return ApiError(_SUPPORTING_CODES.get((service, code), code), message, status=status)


def injected_error(fault: Fault, subject: Subject, caller: Caller, request: Request, now: float) -> ApiError:
    """Return the error of a rule."""
    if fault.effect == "error":
        return ApiError(fault.code, fault.message, status=fault.status)
    return error_of(subject.service, _CODES[fault.effect], _text(fault, subject, caller, request, now))


def _text(fault: Fault, subject: Subject, caller: Caller, request: Request, now: float) -> str:
    match fault.effect:
        case "deny":
            action = subject.operation if fault.matches_action(subject.operation, subject) else subject.also[0]
            return f"User: {caller.arn} is not authorized to perform: {subject.service}:{action} on resource: {subject.resource}"
        case "expire":
            return "The security token included in the request is expired"
        case "skew":
            stamp = request.headers.get("x-amz-date") or datetime.fromtimestamp(now, UTC).strftime("%Y%m%dT%H%M%SZ")
            return late_text(stamp, now + _SKEW_SECONDS)
        case _ if subject.service in SERVICES:
            return f"Operation: {subject.service}:{subject.operation} exceeded call rate: 5"
        case _:
            return "Rate exceeded"


def _document(request: Request) -> dict[str, Any]:
    try:
        found = json.loads(request.body or b"{}")
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def _resource(service: str, operation: str, caller: Caller, request: Request, document: dict[str, Any]) -> str:
    """Return the ARN that IAM names for a call; a pattern for creates and lists."""
    if operation == "AssumeRole":
        return parse_qs(request.body.decode("utf-8", "replace")).get("RoleArn", [_ANYTHING])[0]
    row = SERVICES.get(service)
    if row is None or operation in row.without_resource:
        return _ANYTHING
    if request.path.startswith(TAGS_PATH):
        return tagged_arn(request.path)
    for member in row.arn_members:
        if isinstance(document.get(member), str):
            return str(document[member])
    arns = document.get("arns")
    if isinstance(arns, list) and arns:
        return str(arns[0])
    kinds = [kind for kind in row.kinds.values() if operation.endswith((kind.member[1:], kind.plural[1:]))]
    kind = next(iter(kinds or row.kinds.values())).type
    return f"arn:aws:{service}:{caller.region}:{caller.account}:{kind}/{_ANYTHING}"
