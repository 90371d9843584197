"""The engine: from a request to its answer, for every transport; and the call-rate quotas that it applies.

Order: routing, faults before processing, signature, call rate, validation, the handler in one transaction, faults after
processing. The real service's order of authentication, throttling and validation is not documented; this one is
assumed.

Rates are documented and not adjustable (user guide: service quotas). The size of a burst is not published: a capacity
equal to the rate is assumed, and can be set. Nor is the way of counting: besides buckets that refill continuously there
are windows, which are filled at each whole second.
"""

from __future__ import annotations

import logging
import random
import sqlite3
from collections.abc import Mapping
from dataclasses import dataclass, field

from reconciler.sandbox import model
from reconciler.sandbox.auth import AccessKey, Caller, identifier, key_of, refuse_expired, verify
from reconciler.sandbox.faults import REFUSALS, Fault, FaultRules, Subject, error_of, injected_error, subject_of
from reconciler.sandbox.model import JsonDict, Operation, ServiceModel
from reconciler.sandbox.registry import HANDLERS, SERVICES
from reconciler.sandbox.service import Call, is_write, refuse
from reconciler.sandbox.settings import Assumptions, Clock, ControlError, Settings
from reconciler.sandbox.state.logs import CallLog, CallRecord
from reconciler.sandbox.state.store import Store
from reconciler.sandbox.state.world import Lag, World
from reconciler.sandbox.supporting import SupportingCall, error_of_service, find_call
from reconciler.sandbox.wire import (
    COMMON_ERRORS,
    FRONT_HEADERS,
    JSON_TYPE,
    ApiError,
    Disruption,
    Request,
    Response,
    Router,
    error_response,
    input_of,
    is_number,
    json_bytes,
    new_request_id,
)


class RateLimiter:
    """The rates of a sandbox. The buckets are in the store, so that processes that serve one file share them."""

    def __init__(
        self, store: Store, clock: Clock, assume: Assumptions, rates: Mapping[str, float] | bool = False
    ) -> None:
        """`rates`: False for no limit, True for the documented rates, or a mapping that replaces some of them."""
        self._store, self._clock, self._assume = store, clock, assume
        self._started = rates
        self._rates = _table(rates)
        self._burst: float | None = None
        self._windows = False

    def set(self, rates: Mapping[str, float] | bool, *, burst: float | None = None, windows: bool = False) -> None:
        """Change the rates and fill all buckets.

        burst: the capacity of every bucket (default: its rate, at least 1).
        windows: fill buckets at each whole second only.
        Raises ControlError for an unknown operation, or a rate or capacity that is no number above 0.
        """
        if burst is not None and not (is_number(burst) and burst >= 1):
            raise ControlError("burst must be 1 or more")
        self._rates = _table(rates)
        self._burst, self._windows = burst, windows
        with self._store.transaction(write=True) as connection:
            connection.execute("DELETE FROM buckets")

    @property
    def rates(self) -> dict[str, float] | None:
        """The rates set or documented, in calls a second by operation; None for no limit."""
        return None if self._rates is None else {name: rate for (_, name), rate in self._rates.items()}

    def restore(self) -> None:
        """Set the rates of the start again."""
        self.set(self._started)

    def take(self, account: str, region: str, service: str, operation: str) -> None:
        """Refill the bucket of a call by the time passed, and take a token.

        Raises ApiError (429) if it exceeds the rate.
        """
        rates = self._rates
        if rates is None:
            return
        rate = rates.get((service, operation), SERVICES[service].default_rate)
        capacity = self._burst or (max(1.0, rate) if self._assume["rate-burst"] == "rate" else 1.0)
        windows = self._windows or self._assume["rate-counting"] == "seconds"
        key = (account, region, f"{service}:{operation}")
        with self._store.transaction(write=True) as connection:
            now = self._clock.now()
            found = connection.execute(
                "SELECT tokens, at FROM buckets WHERE account = ? AND region = ? AND operation = ?", key
            ).fetchone()
            tokens, at = found or (capacity, now)
            refill = (int(now) - int(at)) * capacity if windows else (now - at) * rate
            # No time has passed if the machine's clock was set back.
            tokens = min(capacity, tokens + max(0.0, refill))
            passed = tokens >= 1
            connection.execute("INSERT OR REPLACE INTO buckets VALUES (?, ?, ?, ?, ?)", (*key, tokens - passed, now))
        if not passed:
            raise ApiError("ThrottlingException", f"Operation: {service}:{operation} exceeded call rate: {rate:g}")


def _table(rates: Mapping[str, float] | bool) -> dict[tuple[str, str], float] | None:
    """Return the rate of each operation of each service, None for no limit; "*" is the rate of undocumented ones."""
    if not isinstance(rates, bool | Mapping):
        raise ControlError("rates must be true, false, or numbers by operation")
    given = {} if isinstance(rates, bool) else dict(rates)
    if not all(is_number(rate) and rate > 0 for rate in given.values()):
        raise ControlError("a call rate must be more than 0 a second")
    known = {operation for _, operation in HANDLERS}
    unknown = [name for name in given if name not in known and name != "*"]
    if unknown:
        raise ControlError(f"unknown operation {unknown[0]!r}")
    if rates is False:
        return None
    table = {}
    for service, operation in HANDLERS:
        row = SERVICES[service]
        table[service, operation] = given.get(operation, row.rates.get(operation, given.get("*", row.default_rate)))
    return table


log = logging.getLogger("reconciler.sandbox")

_EDGE_PAGE = b"<html><head><title>503 Service Unavailable</title></head><body>503</body></html>"


@dataclass(slots=True)
class Parts:
    """The parts of an engine; `lag` may be replaced while it runs."""

    models: Mapping[str, ServiceModel]
    store: Store
    clock: Clock
    rng: random.Random
    settings: Settings
    keys: Mapping[str, AccessKey]
    faults: FaultRules
    limiter: RateLimiter
    call_log: CallLog
    strict: bool = False
    lag: Lag = field(default_factory=Lag)


@dataclass(slots=True)
class _Attempt:
    """What is known about one request so far, for the call log."""

    request: Request
    source_ip: str
    request_id: str
    caller: Caller
    service: str
    operation: str = ""
    parameters: JsonDict | None = None
    subject: Subject | None = None
    after: Fault | None = None
    trusted: bool = False


class Engine:
    """Maps requests to answers; independent of the transport."""

    def __init__(self, parts: Parts) -> None:
        """Take the parts and index the operations of their models."""
        self.parts = parts
        models = parts.models.values()
        self._router = Router(models)
        self._identify = identifier(parts.keys)
        self._statuses = {
            **COMMON_ERRORS,
            **{code: status for model in models for code, status in model.errors.items()},
        }
        self._default_service = next(iter(parts.models))

    def handle(self, request: Request, source_ip: str = "127.0.0.1", *, caller: Caller | None = None) -> Response:
        """Return the answer to one request; errors are answers too, no exception is raised.

        With a `caller` the request is neither authenticated nor hit by faults: so the control API changes resources.
        """
        who = caller or self._identify(request)
        attempt = _Attempt(request, source_ip, new_request_id(), who, self._default_service, trusted=caller is not None)
        try:
            answer = self._answer(attempt)
        except ApiError as error:
            answer = self._refuse(attempt, error)
        except sqlite3.Error as error:
            log.error("request %s: database error: %s", attempt.request_id, error)  # noqa: TRY400 - the traceback does not help
            text = f"The sandbox cannot use its database ({error}); request id {attempt.request_id}"
            answer = self._refuse(attempt, ApiError("InternalServerException", text))
        except Exception:
            # Any exception becomes an answer: SDKs would resend after a dropped connection.
            log.exception("request %s: internal error", attempt.request_id)
            text = f"An internal error occurred; request id {attempt.request_id}"
            answer = self._refuse(attempt, ApiError("InternalServerException", text))
        return answer if attempt.after is None else self._break(attempt, attempt.after, answer)

    def _answer(self, attempt: _Attempt) -> Response:
        parts, request, caller = self.parts, attempt.request, attempt.caller
        supporting_call = find_call(request)
        operation = None
        if supporting_call is not None:
            attempt.service, attempt.operation = supporting_call.service, supporting_call.operation
        else:
            operation = self._router.find(request)
            attempt.service, attempt.operation = operation.service, operation.name
        after = None
        if parts.faults.active and not attempt.trusted:
            attempt.subject = subject_of(attempt.service, attempt.operation, caller, request)
            faults = parts.faults.take(attempt.subject)
            if faults.delay:
                parts.clock.sleep(faults.delay)
            if faults.before is not None:
                return self._fail(attempt, faults.before)
            after = faults.after
        self._authenticate(attempt)
        attempt.after = after
        if supporting_call is not None:
            return self._answer_supporting(attempt, supporting_call)
        assert operation is not None
        parts.limiter.take(caller.account, caller.region, operation.service, operation.name)
        return self._process(attempt, operation)

    def _authenticate(self, attempt: _Attempt) -> None:
        """Verify the signature with auth="strict", else only the expiry of a known key."""
        parts = self.parts
        if attempt.trusted:
            return
        try:
            if parts.strict:
                verify(attempt.request, parts.keys, attempt.service, parts.clock.now())
            elif key := key_of(attempt.request, attempt.caller.access_key, parts.keys):
                refuse_expired(key, parts.clock.now())
        except ApiError as error:
            raise error_of(attempt.service, error.code, error.message) from None

    def _answer_supporting(self, attempt: _Attempt, call: SupportingCall) -> Response:
        parts = self.parts
        if call.service == "cloudtrail":
            parts.call_log.flush(parts.store)
        with parts.store.transaction(write=False) as connection:
            answer = call.answer(
                connection,
                attempt.request,
                attempt.caller,
                attempt.request_id,
                parts.settings.assume,
                parts.clock.now(),
            )
        parts.call_log.defer(self._record(attempt, 200))
        return answer

    def _process(self, attempt: _Attempt, operation: Operation) -> Response:
        """Validate the request, run the handler in one transaction and serialise its result."""
        parts, caller, service = self.parts, attempt.caller, SERVICES[operation.service]
        shapes, assume, write = parts.models[operation.service].shapes, parts.settings.assume, is_write(operation.name)
        handler = service.handlers.get(operation.name)
        if handler is None:
            raise ApiError(
                "UnknownOperationException",
                f"{operation.name} is in the installed service model, but not implemented by the sandbox",
            )
        cleaned = _validated(operation, shapes, input_of(operation, attempt.request), assume)
        if operation.input is not None:
            attempt.parameters = model.project_by_shape(shapes, operation.input, cleaned, masked=True)
        with parts.store.transaction(write=write) as connection:
            world = World(connection, caller.account, caller.region, parts.clock.now(), parts.lag)
            result = handler(Call(service, operation.name, caller, world, parts.settings, parts.rng), cleaned)
            body = model.project_by_shape(shapes, operation.output, result) if operation.output else None
            if write:
                logged = (
                    model.project_by_shape(shapes, operation.output, body, masked=True) if operation.output else None
                )
                parts.call_log.write(connection, self._record(attempt, operation.status, result=logged))
        if not write:
            parts.call_log.defer(self._record(attempt, operation.status))
        headers = (*(FRONT_HEADERS if operation.front_headers else ()), ("x-amzn-RequestId", attempt.request_id))
        if operation.status == 204:
            return Response(204, headers)
        if assume["unset-members"] == "absent":
            body = model.without_unset(body or {})
        return Response(operation.status, (("Content-Type", JSON_TYPE), *headers), json_bytes(body or {}))

    def _refuse(self, attempt: _Attempt, error: ApiError, fault: str = "") -> Response:
        """Answer with an error and log the call."""
        answer = self._error(attempt, error)
        self.parts.call_log.defer(self._record(attempt, answer.status, error=error, fault=fault))
        return answer

    def _error(self, attempt: _Attempt, error: ApiError) -> Response:
        status = error.status or self._statuses.get(error.code, 400)
        if attempt.service in SERVICES:
            retry_after = (
                (("Retry-After", "1"),)
                if status == 429 and self.parts.settings.assume["retry-after"] == "present"
                else ()
            )
            return error_response(status, error.code, error.message, attempt.request_id, retry_after)
        return error_of_service(attempt.service, error, status, attempt.request_id)

    def _fail(self, attempt: _Attempt, fault: Fault) -> Response:
        """Answer with a fault instead of processing the call."""
        if fault.effect in REFUSALS:
            return self._refuse(attempt, self._injected(attempt, fault), fault.effect)
        status = 503 if fault.effect == "html" else None
        self.parts.call_log.defer(self._record(attempt, status, fault=f"{fault.effect} before"))
        return _disrupted(fault, Response(200))

    def _injected(self, attempt: _Attempt, fault: Fault) -> ApiError:
        assert attempt.subject is not None
        return injected_error(fault, attempt.subject, attempt.caller, attempt.request, self.parts.clock.now())

    def _break(self, attempt: _Attempt, fault: Fault, answer: Response) -> Response:
        """Answer with a fault instead of the result of a processed call."""
        if fault.effect in REFUSALS:
            return self._error(attempt, self._injected(attempt, fault))
        return _disrupted(fault, answer)

    def _record(
        self,
        attempt: _Attempt,
        status: int | None,
        *,
        error: ApiError | None = None,
        fault: str = "",
        result: JsonDict | None = None,
    ) -> CallRecord:
        after = attempt.after
        return CallRecord(
            time=self.parts.clock.now(),
            request_id=attempt.request_id,
            service=attempt.service,
            operation=attempt.operation,
            account=attempt.caller.account,
            region=attempt.caller.region,
            user=attempt.caller.arn,
            access_key=attempt.caller.access_key,
            source_ip=attempt.source_ip,
            user_agent=attempt.request.headers.get("user-agent", "")[:512],
            read_only=not is_write(attempt.operation),
            status=status,
            error_code=error.code if error else "",
            error_message=error.message if error else "",
            fault=f"{after.effect} after" if after and not fault else fault,
            parameters=attempt.parameters,
            result=result,
        )


def _validated(
    operation: Operation, shapes: Mapping[str, JsonDict], document: JsonDict, assume: Assumptions
) -> JsonDict:
    """Return the cleaned input of a call.

    Raises ApiError with all violations: of the shapes, and of the rules as far as the request alone decides them.
    """
    if operation.input is None:
        return {}
    problems: list[str] = []
    blanks = {name: "" for name in SERVICES[operation.service].blanks if document.get(name) == ""}
    checked = {name: value for name, value in document.items() if name not in blanks} if blanks else document
    cleaned: JsonDict = {**model.check_by_shape(shapes, operation.input, checked, problems), **blanks}
    malformed = bool(problems)
    rule = SERVICES[operation.service].rules.get(operation.name)
    if rule is not None:
        problems += rule(assume, cleaned)
    if malformed:
        raise ApiError("ValidationException", model.violation_text(problems))
    refuse(problems)
    return cleaned


def _disrupted(fault: Fault, answer: Response) -> Response:
    match fault.effect:
        case "html":
            return Response(503, (("Content-Type", "text/html"),), _EDGE_PAGE)
        case "hang":
            return Response(answer.status, disruption=Disruption.HANG, hold=fault.seconds)
        case "truncate":
            return Response(answer.status, answer.headers, answer.body, disruption=Disruption.TRUNCATE)
        case _:
            return Response(answer.status, disruption=Disruption.RESET)
