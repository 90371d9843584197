"""Sends API calls, paced and retried, and returns their answers without secrets.

Every failure becomes an ``AwsError``. botocore's retries are off: they repeat a create whose answer was lost, and ignore the pace.
Members that the service model marks sensitive (stream key values, SRT passphrases) or reads from headers are removed from answers.
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Any, NamedTuple, Protocol, TypeVar

from reconciler import logs
from reconciler.aws.limiter import Pacer, backoff_seconds, may_repeat, repeat_class
from reconciler.errors import NOT_FOUND, UNREADABLE, AwsError
from reconciler.model.kinds import KINDS, OPERATIONS, SERVICES, Kind, Repeat, Service
from reconciler.terminal import mask_stream_keys

T = TypeVar("T")


class Answer(NamedTuple):
    """The body of an answer without secrets, the request id, and the number of requests sent, retries included."""

    data: Mapping[str, object]
    request_id: str = ""
    calls: int = 1


class ReadCalls(Protocol):
    """Sends API calls."""

    def call(self, operation: str, parameters: Mapping[str, object], service: Service | None = None, /) -> Answer:
        """Return the answer of a call to a service; ``None`` is IVS. Raises ``AwsError``."""
        ...


def answer_of(call: Callable[[], T], operation: str, *, writes: bool, service: str = "ivs") -> T:
    """Return what a call of botocore returns. Raises ``AwsError``, without botocore's error, whose text may hold a secret.

    ``writes`` and ``service`` are those of ``errors.to_aws_error``.
    """
    from reconciler.aws.errors import BOTO_ERRORS, to_aws_error  # loads botocore, which the caller has loaded already

    try:
        return call()
    except BOTO_ERRORS as error:
        failure = to_aws_error(error, operation, writes=writes, service=service)
    raise failure from None


Path = tuple[str, ...]


def secret_paths(
    shape: Any, trail: Path = (), inside: frozenset[str] = frozenset()
) -> tuple[Path, ...]:  # a botocore shape
    """Return the paths to remove from answers of this output shape; ``*`` means every item of a list.

    ``inside`` holds the enclosing shapes, because shapes can be recursive.
    """
    if shape is None or shape.name in inside:
        return ()
    inside |= {shape.name}
    match shape.type_name:
        case "structure":
            return tuple(
                path
                for name, member in shape.members.items()
                for path in (
                    [(*trail, name)]
                    if member.metadata.get("sensitive") or member.serialization.get("location") is not None
                    else secret_paths(member, (*trail, name), inside)
                )
            )
        case "list":
            return secret_paths(shape.member, (*trail, "*"), inside)
        case _:
            return ()


def remove_members(data: object, paths: Iterable[Path]) -> None:
    """Remove the members at these paths from an answer, in place."""
    for *above, last in paths:
        holders = [data]
        for name in above:
            outer, holders = holders, []
            for holder in outer:
                if name == "*" and isinstance(holder, list):
                    holders += holder
                elif isinstance(holder, dict) and name in holder:
                    holders.append(holder[name])
        for holder in holders:
            if isinstance(holder, dict):
                holder.pop(last, None)


_ANSWERED_WITH: Mapping[tuple[str, str], Kind] = {
    (kind.service.client, name): kind
    for kind in KINDS.values()
    for name in (kind.create, kind.get, kind.update)
    if name
}
"""By client and name, the operations whose answer is the resource."""


MAX_CONNECTIONS = 6
"""Maximum connections per account and region: each costs a TLS handshake, and the published rates need few."""

OnRequest = Callable[[str, AwsError | None], None]
"""Called with operation and error of every request sent, from several threads."""

_LOG = logs.get("gateway")


class IvsGateway:
    """Calls one account and region through one botocore client. Thread-safe.

    ``pacer`` is ``None`` without rate limits. ``draw`` returns random numbers from 0 to 1 for jitter.
    ``siblings`` returns the gateway of another service in the same account and region, by client name.
    """

    def __init__(
        self,
        client: Any,  # botocore builds its clients at run time
        *,
        pacer: Pacer | None,
        sleep: Callable[[float], None] = time.sleep,
        draw: Callable[[], float] = random.random,
        connections: int = MAX_CONNECTIONS,
        on_request: OnRequest | None = None,
        siblings: Callable[[str], IvsGateway] | None = None,
    ) -> None:
        self._client = client
        self._service: str = client.meta.service_model.service_name
        self._siblings = siblings
        self._methods: Mapping[str, str] = {
            operation: method for method, operation in client.meta.method_to_api_mapping.items()
        }
        self._pacer = pacer
        self._sleep = sleep
        self._draw = draw
        self._on_request = on_request
        self._slots = threading.BoundedSemaphore(connections)
        self._dropped: dict[str, tuple[Path, ...]] = {}

    def call(self, operation: str, parameters: Mapping[str, object], service: Service | None = None, /) -> Answer:
        """Return the answer of a call, retried if that is safe. Raises ``AwsError`` with the number of requests in ``calls``."""
        if service is not None and (other := self._other(service.client)):
            return other.call(operation, parameters)
        return self._call(operation, parameters)

    def read_value(self, kind: Kind, arn: str, take: Callable[[str], None], /) -> Answer:
        """Pass the secret value of a resource to ``take``, and return the answer without it. Raises ``AwsError`` and what ``take`` raises."""
        if other := self._other(kind.service.client):
            return other.read_value(kind, arn, take)
        found: list[str] = []
        answer = self._call(kind.get, {kind.identifier: arn}, found)
        if not found:
            raise AwsError(
                f"{kind.get}: the answer for {arn} contains no value",
                operation=kind.get,
                code=UNREADABLE,
                calls=answer.calls,
            )
        take(found.pop())
        return answer

    def _call(self, operation: str, parameters: Mapping[str, object], secrets: list[str] | None = None) -> Answer:
        repeat = repeat_class(self._service, operation)
        calls = 0
        while True:
            if self._pacer is not None:
                self._pacer.wait(operation)
            calls += 1
            try:
                data, request_id = self._send(operation, parameters, writes=repeat is not Repeat.READ, secrets=secrets)
            except AwsError as error:
                if self._on_request is not None:
                    self._on_request(operation, error)
                if self._pacer is not None and error.throttled:
                    self._pacer.throttled(operation)
                if repeat is Repeat.DELETE and calls > 1 and error.code == NOT_FOUND:
                    return Answer({}, error.request_id, calls)
                if not may_repeat(error, repeat, calls):
                    error.calls = calls
                    raise
                # The pacer has already slowed down; a longer wait per throttled call would leave the rate unused.
                seconds = backoff_seconds(1 if self._pacer is not None and error.throttled else calls, self._draw())
                _LOG.info(
                    "request repeated",
                    operation=operation,
                    code=error.code,
                    request_id=error.request_id,
                    requests=calls,
                    wait=round(seconds, 3),
                )
            else:
                if self._on_request is not None:
                    self._on_request(operation, None)
                if self._pacer is not None:
                    self._pacer.succeeded(operation)
                return Answer(data, request_id, calls)
            self._sleep(seconds)

    def pace(self, service: str, operation: str) -> float | None:
        """Return the current pace of an operation in calls a second, or ``None`` without a pacer. ``service`` is a client name."""
        if other := self._other(service):
            return other.pace(service, operation)
        return None if self._pacer is None else self._pacer.rate(operation)

    def _other(self, service: str) -> IvsGateway | None:
        return None if service == self._service or self._siblings is None else self._siblings(service)

    def _send(
        self, operation: str, parameters: Mapping[str, object], *, writes: bool, secrets: list[str] | None
    ) -> tuple[dict[str, object], str]:
        method = self._methods.get(operation)
        if method is None:
            raise self._unknown(operation)
        send = partial(getattr(self._client, method), **parameters)
        with self._slots:
            data: dict[str, Any] = answer_of(send, operation, writes=writes, service=self._prefix)
        metadata = data.pop("ResponseMetadata", {})
        request_id = mask_stream_keys(str(metadata.get("RequestId") or ""))
        kind = _ANSWERED_WITH.get((self._service, operation))
        item = kind.resource_in(data) if kind is not None else None
        if secrets is not None and kind is not None and isinstance(value := (item or {}).get(kind.value_member), str):
            secrets.append(value)
        remove_members(data, self._paths(operation))
        if kind is not None and not (item is not None and isinstance(item["arn"], str) and item["arn"]):
            raise AwsError(
                f"{operation}: the answer holds no {kind.member or kind.title!r} with an ARN; the result is unknown",
                operation=operation,
                code=UNREADABLE,
                request_id=request_id,
                ambiguous=writes,
            )
        return data, request_id

    @property
    def _prefix(self) -> str:
        return SERVICES[self._service].prefix if self._service in SERVICES else self._service

    def _unknown(self, operation: str) -> AwsError:
        """Return the error of an unknown operation: botocore is too old, or the operation belongs to another service."""
        title = SERVICES[self._service].title if self._service in SERVICES else self._service
        owner = next((SERVICES[client] for client, name in OPERATIONS if name == operation), None)
        if owner is None or owner.client == self._service:
            said = f"the installed botocore does not know the {title} operation {operation}; install a newer one"
            return AwsError(said, operation=operation, code="UnknownOperation", service=self._prefix)
        said = f"{operation} is an operation of {owner.title} and was sent to {title}"
        return AwsError(said, operation=operation, code="WrongService", service=self._prefix)

    def _paths(self, operation: str) -> tuple[Path, ...]:
        paths = self._dropped.get(operation)
        if paths is None:
            shape = self._client.meta.service_model.operation_model(operation).output_shape
            paths = self._dropped[operation] = secret_paths(shape)
        return paths
