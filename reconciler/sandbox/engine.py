"""The pipeline every call goes through, whichever transport brought it.

Order: route, identify, faults before the work, signature, call rate, parse and validate, work in
one transaction, faults after the work. The order of authentication, throttling and validation on
the real service is not documented; this one is assumed.

What is known of an operation before a call of it comes, put together once at start.
"""

from __future__ import annotations

import logging
import random
import sqlite3
from collections.abc import Mapping
from dataclasses import dataclass, field

from reconciler.sandbox import validation
from reconciler.sandbox.auth import AccessKey, Caller, identifier, refuse_expired, verify
from reconciler.sandbox.faults import REFUSALS, Fault, FaultRules, Subject, asked_error, subject_of, unauthenticated
from reconciler.sandbox.ivs.common import Call, Handler
from reconciler.sandbox.ivs.registry import HANDLERS, is_write
from reconciler.sandbox.ivs.rules import RULES
from reconciler.sandbox.journal import CallRecord, Journal
from reconciler.sandbox.limits import RateLimiter
from reconciler.sandbox.model import JsonDict, Operation, ServiceModel
from reconciler.sandbox.routing import Router
from reconciler.sandbox.services import aws
from reconciler.sandbox.services.aws import Neighbour
from reconciler.sandbox.settings import Assumptions, Clock, Settings
from reconciler.sandbox.store import Store
from reconciler.sandbox.validation import Projection, Validator
from reconciler.sandbox.wire import (
    COMMON_ERRORS,
    FRONT_HEADERS,
    JSON_TYPE,
    ApiError,
    Disruption,
    Request,
    Response,
    error_response,
    json_bytes,
    new_request_id,
)
from reconciler.sandbox.world import Lag, World

_Headers = tuple[tuple[str, str], ...]
_NOTHING: JsonDict = {"type": "structure", "members": {}}
_NO_SHAPE = ""


@dataclass(frozen=True, slots=True)
class Prepared:
    """One operation: how its input is judged and its output rendered, and who does its work.

    The maskers make what may be recorded; `handler` is missing for what only the model knows; `headers`
    are those of every answer.
    """

    name: str
    status: int
    write: bool
    handler: Handler | None
    validate: Validator
    mask_input: Projection
    serialise: Projection
    mask_output: Projection
    headers: _Headers


def prepare(model: ServiceModel) -> dict[str, Prepared]:
    """Return every operation of a model by its name."""
    known = {**model.shapes, _NO_SHAPE: _NOTHING}
    validators, serialisers, maskers = (
        validation.validators(known),
        validation.serialisers(known),
        validation.maskers(known),
    )
    table = {}
    for operation in model.operations.values():
        takes, gives = operation.input or _NO_SHAPE, operation.output or _NO_SHAPE
        # The answers that carry the front's headers as modelled members: the batch operations.
        fronted = any("location" in member for member in known[gives]["members"].values())
        headers: _Headers = () if operation.status == 204 else (("Content-Type", JSON_TYPE),)
        table[operation.name] = Prepared(
            name=operation.name,
            status=operation.status,
            write=is_write(operation.name),
            handler=HANDLERS.get(operation.name),
            validate=validators[takes],
            mask_input=maskers[takes],
            serialise=serialisers[gives],
            mask_output=maskers[gives],
            headers=(*headers, *FRONT_HEADERS) if fronted else headers,
        )
    return table


log = logging.getLogger("reconciler.sandbox")

_EDGE_PAGE = b"<html><head><title>503 Service Unavailable</title></head><body>503</body></html>"


@dataclass(slots=True)
class Parts:
    """What an engine is made of; `lag` may be replaced while it runs."""

    model: ServiceModel
    store: Store
    clock: Clock
    rng: random.Random
    settings: Settings
    keys: Mapping[str, AccessKey]
    faults: FaultRules
    limiter: RateLimiter
    journal: Journal
    strict: bool = False
    lag: Lag = field(default_factory=Lag)


@dataclass(slots=True)
class _Attempt:
    """What is known so far about one request: enough to record it, whatever happens."""

    request: Request
    source_ip: str
    request_id: str
    caller: Caller
    service: str = "ivs"
    operation: str = ""
    parameters: JsonDict | None = None
    subject: Subject | None = None
    after: Fault | None = None
    trusted: bool = False


class Engine:
    """Requests in, answers out; knows nothing of sockets."""

    def __init__(self, parts: Parts) -> None:
        """Compile the model; everything that can fail fails here and not in a request."""
        self.parts = parts
        self._router = Router(parts.model)
        self._prepared = prepare(parts.model)
        self._identify = identifier(parts.keys)
        self._statuses = {**COMMON_ERRORS, **parts.model.errors}

    def handle(self, request: Request, source_ip: str = "127.0.0.1", *, caller: Caller | None = None) -> Response:
        """Answer one request; whatever goes wrong inside is an answer, never an exception.

        A `caller` given here is taken as verified: that is how the control API acts as somebody.
        """
        who = caller or self._identify(request)
        attempt = _Attempt(request, source_ip, new_request_id(), who, trusted=caller is not None)
        try:
            answer = self._answer(attempt)
        except ApiError as error:
            answer = self._refuse(attempt, error)
        except sqlite3.Error as error:
            log.error("request %s: the state cannot be used: %s", attempt.request_id, error)  # noqa: TRY400 - where in our code says nothing
            text = f"The sandbox cannot use its state ({error}); request id {attempt.request_id}"
            answer = self._refuse(attempt, ApiError("InternalServerException", text))
        except Exception:
            # The one place that may catch everything: a dropped connection would make SDKs resend.
            log.exception("request %s: the sandbox itself failed", attempt.request_id)
            text = f"An internal error occurred; request id {attempt.request_id}"
            answer = self._refuse(attempt, ApiError("InternalServerException", text))
        return answer if attempt.after is None else self._break(attempt, attempt.after, answer)

    def _answer(self, attempt: _Attempt) -> Response:
        parts, request, caller = self.parts, attempt.request, attempt.caller
        neighbour = aws.find(request)
        operation = None
        if neighbour is not None:
            attempt.service, attempt.operation = neighbour.service, neighbour.operation
        else:
            operation = self._router.find(request)
            attempt.operation = operation.name
        after = None
        if parts.faults.active and not attempt.trusted:
            attempt.subject = subject_of(attempt.service, attempt.operation, caller, request)
            coming = parts.faults.take(attempt.subject)
            if coming.delay:
                parts.clock.sleep(coming.delay)
            if coming.before is not None:
                return self._fail(attempt, coming.before)
            after = coming.after
        self._authenticate(attempt)
        attempt.after = after
        if neighbour is not None:
            return self._ask(attempt, neighbour)
        assert operation is not None
        parts.limiter.take(caller.account, caller.region, operation.name)
        return self._work(attempt, operation)

    def _authenticate(self, attempt: _Attempt) -> None:
        """Verify the signature in strict mode; otherwise only a configured expiry is looked at."""
        parts = self.parts
        if attempt.trusted:
            return
        try:
            if parts.strict:
                verify(attempt.request, parts.keys, attempt.service, parts.clock.now())
            elif attempt.caller.access_key in parts.keys:
                refuse_expired(parts.keys[attempt.caller.access_key], parts.clock.now())
        except ApiError as error:
            raise unauthenticated(attempt.service, error) from None

    def _ask(self, attempt: _Attempt, neighbour: Neighbour) -> Response:
        """Let a neighbouring service answer; it may look into the record of calls."""
        parts = self.parts
        if neighbour.service == "cloudtrail":
            parts.journal.flush(parts.store)
        with parts.store.transaction(write=False) as connection:
            answer = neighbour.answer(connection, attempt.request, attempt.caller, attempt.request_id)
        parts.journal.defer(self._record(attempt, 200))
        return answer

    def _work(self, attempt: _Attempt, operation: Operation) -> Response:
        """Validate, do the work and serialise its answer inside one transaction."""
        parts, caller, prepared = self.parts, attempt.caller, self._prepared[operation.name]
        if prepared.handler is None:
            raise ApiError(
                "UnknownOperationException",
                f"{operation.name} is in the installed service model, but this sandbox does not know it yet",
            )
        cleaned = _validated(prepared, self._router.input_of(operation, attempt.request), parts.settings.assume)
        if operation.input is not None:
            attempt.parameters = prepared.mask_input(cleaned)
        with parts.store.transaction(write=prepared.write) as connection:
            world = World(connection, caller.account, caller.region, parts.clock.now(), parts.lag)
            call = Call(operation.name, caller, world, parts.settings, parts.rng)
            result = prepared.handler(call, cleaned)
            body = prepared.serialise(result)
            if prepared.write:
                made = prepared.mask_output(body) if operation.output else None
                parts.journal.write(connection, self._record(attempt, prepared.status, result=made))
        if not prepared.write:
            parts.journal.defer(self._record(attempt, prepared.status))
        if parts.settings.assume["unset-members"] == "absent":
            body = validation.without_unset(body)
        headers = (*prepared.headers, ("x-amzn-RequestId", attempt.request_id))
        return Response(prepared.status, headers, b"" if prepared.status == 204 else json_bytes(body))

    def _refuse(self, attempt: _Attempt, error: ApiError, fault: str = "") -> Response:
        """Answer with an error, and record it."""
        status = error.status or self._statuses.get(error.code, 400)
        self.parts.journal.defer(self._record(attempt, status, error=error, fault=fault))
        return self._error(attempt, error, status)

    def _error(self, attempt: _Attempt, error: ApiError, status: int) -> Response:
        if attempt.service == "ivs":
            later = (
                (("Retry-After", "1"),)
                if status == 429 and self.parts.settings.assume["retry-after"] == "present"
                else ()
            )
            return error_response(status, error.code, error.message, attempt.request_id, later)
        return aws.failure(attempt.service, error, status, attempt.request_id)

    def _fail(self, attempt: _Attempt, fault: Fault) -> Response:
        """Answer with a fault instead of the work."""
        if fault.effect in REFUSALS:
            return self._refuse(attempt, self._asked(attempt, fault), fault.effect)
        status = 503 if fault.effect == "html" else None
        self.parts.journal.defer(self._record(attempt, status, fault=f"{fault.effect} before"))
        return _disrupted(fault, Response(200))

    def _asked(self, attempt: _Attempt, fault: Fault) -> ApiError:
        assert attempt.subject is not None
        return asked_error(fault, attempt.subject, attempt.caller, attempt.request, self.parts.clock.now())

    def _break(self, attempt: _Attempt, fault: Fault, answer: Response) -> Response:
        """Answer with a fault instead of the result: the work is done and stays done."""
        if fault.effect in REFUSALS:
            error = self._asked(attempt, fault)
            status = error.status or self._statuses.get(error.code, 400)
            return self._error(attempt, error, status)
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
            caller=attempt.caller,
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


def _validated(prepared: Prepared, document: JsonDict, assume: Assumptions) -> JsonDict:
    """Return the cleaned input of a call, or all its violations at once."""
    problems: list[str] = []
    cleaned: JsonDict = prepared.validate(document, "", problems)
    if problems:
        # All at once: also what the members break together, as far as the request alone can tell.
        rule = RULES.get(prepared.name)
        problems += rule(assume, cleaned) if rule else []
        raise ApiError("ValidationException", validation.violation_text(problems))
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
