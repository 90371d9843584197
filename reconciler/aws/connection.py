"""Opens the connection of a target, and checks that it is the right account before any IVS call.

For a sandbox target the embedded server runs in this process meanwhile, on a loopback port.
Importing this module is cheap; botocore is loaded when a connection is opened.
"""

from __future__ import annotations

import errno
import os
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, NoReturn, cast

from reconciler.aws.client import MAX_CONNECTIONS, Answer, IvsGateway, ReadCalls
from reconciler.aws.denials import CREDENTIAL_CODES, DENIED_CODES, describe
from reconciler.aws.limiter import PROCESS_PACERS, is_aws
from reconciler.errors import UNREADABLE, AwsError, UsageError
from reconciler.model.kinds import AppliedQuotas
from reconciler.model.kinds.ivs import IVS
from reconciler.model.resource import StackHold, Trail
from reconciler.model.target import HOME_REGIONS, Sink, Target
from reconciler.network import has_endpoint

if TYPE_CHECKING:
    from reconciler.aws.client import OnRequest
    from reconciler.aws.limiter import Pacer, Pacers
    from reconciler.aws.stores import Parameters


_STACK_RESOURCES = "DescribeStackResources"
_IN_NO_STACK = "ValidationError"
_LEFT = ("DELETE_COMPLETE", "DELETE_SKIPPED")


def _no_trail(operations: Sequence[str], since: datetime) -> Trail:
    del operations, since
    return Trail()


def _no_stacks(arns: Sequence[str]) -> Mapping[str, StackHold]:
    del arns
    return {}


def _nothing() -> None:
    pass


class Connection(NamedTuple):
    """An open connection to one account and region, and the caller's identity.

    ``quotas`` reads the applied quotas, ``trail`` the calls of operations since a time, ``stacks`` the CloudFormation stacks
    that hold resources, by ARN; none of them raises ``AwsError``.
    ``publish`` publishes the value of a stream key to a sink. Raises ``AwsError``. ``parameters`` hold published outputs.
    ``rest`` closes the sockets until the next call.
    """

    gateway: IvsGateway
    account_id: str
    region: str
    caller_arn: str
    quotas: Callable[[], AppliedQuotas] = AppliedQuotas
    publish: Callable[[str, Sink], Answer] | None = None
    trail: Callable[[Sequence[str], datetime], Trail] = _no_trail
    parameters: Parameters | None = None
    stacks: Callable[[Sequence[str]], Mapping[str, StackHold]] = _no_stacks
    rest: Callable[[], None] = _nothing

    def released(self) -> Connection:
        """Return the identity without the connection, whose clients take a megabyte. It can be pickled."""
        return Connection(cast("IvsGateway", _Closed()), self.account_id, self.region, self.caller_arn)


class _Closed:
    """The gateway of a closed connection."""

    def __getattr__(self, name: str) -> NoReturn:
        if name.startswith("__"):  # pickle looks for these
            raise AttributeError(name)
        raise RuntimeError("the connection of this target is closed")


@contextmanager
def connect(
    target: Target,
    *,
    sleep: Callable[[float], None] = time.sleep,
    on_request: OnRequest | None = None,
    pacers: Pacers | None = None,
) -> Iterator[Connection]:
    """Open the connection of a target and close it at the end.

    ``pacers`` default to those of the process: all connections to one account and region share one pace.
    ``on_request`` is called for every request sent. The caller's account is read from STS first, and compared with the target's.
    Raises ``UsageError`` for a region without IVS or an invalid endpoint URL, ``AwsError`` if AWS or the connection fails or the account differs.
    """
    from reconciler.aws.errors import BOTO_ERRORS, to_aws_error
    from reconciler.aws.session import open_client, open_session
    from reconciler.aws.stores import SecretPublisher, open_parameters

    if target.region not in HOME_REGIONS:
        raise UsageError(
            f"target {target.name}: IVS is not available in region {target.region!r}; use one of {', '.join(HOME_REGIONS)}"
        )
    with ExitStack() as stack:
        endpoint = (
            target.endpoint_url if target.sandbox is None else stack.enter_context(_run_sandbox(Path(target.sandbox)))
        )
        try:
            session = open_session(target, endpoint)
            sts = open_client(session, "sts", target, endpoint, 1)
            ivs = stack.enter_context(closing(open_client(session, IVS.client, target, endpoint, MAX_CONNECTIONS)))
        except (*BOTO_ERRORS, OSError) as error:
            raise to_aws_error(error, "GetCallerIdentity", writes=False) from None
        except ValueError as error:
            raise UsageError(f"target {target.name}: {error}; write an endpoint as https://host:port") from None
        with closing(sts):
            account_id, caller_arn = _caller_identity(IvsGateway(sts, pacer=None, sleep=sleep, on_request=on_request))
        del sts  # an apply keeps the connections of all its targets
        _check_account(target, account_id, caller_arn)
        services = _Services(
            stack,
            target,
            partial(open_client, session),
            endpoint,
            account_id,
            ivs,
            pacers or PROCESS_PACERS,
            sleep,
            on_request,
        )
        gateway = services.gateway(IVS.client)
        stand_in = None if target.sandbox is None else Path(f"{target.sandbox}.sinks.json")
        publisher = SecretPublisher(gateway, services.store, sandbox=stand_in, sleep=sleep)
        parameters = open_parameters(lambda: services.store("ssm"), target.sandbox, sleep)
        yield Connection(
            gateway,
            account_id,
            target.region,
            caller_arn,
            services.quotas,
            stack.enter_context(closing(publisher)).publish,
            services.trail,
            stack.enter_context(closing(parameters)),
            services.stacks,
            services.rest,
        )


@dataclass(slots=True)
class _Services:
    """The other clients of one target, opened on first use, and what is read through them.

    ``new_client`` opens a client of the target's session; ``stack`` closes those that are kept.
    """

    stack: ExitStack
    target: Target
    new_client: Callable[..., Any]
    endpoint: str | None
    account_id: str
    ivs: Any  # botocore builds its clients at run time
    pacers: Pacers
    sleep: Callable[[float], None]
    on_request: OnRequest | None
    gateways: dict[str, IvsGateway] = field(default_factory=dict)
    kept: list[Any] = field(default_factory=list)
    opening: threading.RLock = field(default_factory=threading.RLock)

    def gateway(self, service: str) -> IvsGateway:
        """Return the gateway of a service, opened on first use."""
        with self.opening:
            if service not in self.gateways:
                client = self.ivs
                if service != IVS.client:
                    client = self.stack.enter_context(closing(self._open(service, MAX_CONNECTIONS)))
                self.kept.append(client)
                self.gateways[service] = IvsGateway(
                    client,
                    pacer=self._pacer(self.pacers, client, service),
                    sleep=self.sleep,
                    on_request=self.on_request,
                    siblings=self.gateway,
                )
            return self.gateways[service]

    def quotas(self) -> AppliedQuotas:
        """Return the applied quotas."""
        from reconciler.aws.overview import read_quotas

        with closing(self._open("service-quotas", 1, connect_seconds=5, read_seconds=10)) as client:
            return read_quotas(client)

    def trail(self, operations: Sequence[str], since: datetime) -> Trail:
        """Return the calls of operations since a time, from CloudTrail."""
        from reconciler.aws.cloudtrail import PACERS, SERVICE, read_trail

        with closing(self._open(SERVICE, 1)) as client:
            pacer = self._pacer(PACERS, client, SERVICE)
            calls = IvsGateway(client, pacer=pacer, sleep=self.sleep, on_request=self.on_request)
            return read_trail(calls, operations, since, datetime.now(UTC))

    def stacks(self, arns: Sequence[str]) -> Mapping[str, StackHold]:
        """Return the CloudFormation stacks that hold resources."""
        return _read_holds(self.gateway("cloudformation"), arns)

    def store(self, service: str) -> Any:
        """Return a client of a store of values, whose endpoint is never that of IVS. The caller closes it."""
        return self.new_client(service, self.target, None, 1)

    def rest(self) -> None:
        """Close the sockets of clients; a client opens new ones for its next call."""
        for client in tuple(self.kept):
            client.close()

    def _open(self, service: str, connections: int, **seconds: float) -> Any:
        endpoint = self.endpoint or _endpoint_beside_ivs(self.ivs.meta.endpoint_url, service)
        return self.new_client(service, self.target, endpoint, connections, **seconds)

    def _pacer(self, pacers: Pacers, client: Any, service: str) -> Pacer | None:
        if not self.target.paced:
            return None
        return pacers.of(self.account_id, self.target.region, client.meta.endpoint_url, service)


def _read_holds(calls: ReadCalls, arns: Sequence[str]) -> dict[str, StackHold]:
    """Return by ARN which stack holds a resource, with one call for the resources of one stack.

    CloudFormation finds the stack of a resource by its physical id, which for IVS is the ARN, and returns the resources of that stack,
    at most 100; for a resource in no stack it answers ``ValidationError`` (API reference, ``DescribeStackResources``). One that left its
    stack with ``DeletionPolicy: Retain`` has the status ``DELETE_SKIPPED``, or is not found.
    A refusal is part of the result, because only an adoption depends on it; after one, nothing more is asked.
    """
    found: dict[str, StackHold] = {}
    for arn in arns:
        if arn in found:
            continue
        try:
            data: Mapping[str, Any] = calls.call(_STACK_RESOURCES, {"PhysicalResourceId": arn}).data
        except AwsError as error:
            if error.code != _IN_NO_STACK:
                denied = error.code in DENIED_CODES
                why = f"missing permission cloudformation:{_STACK_RESOURCES}" if denied else describe(error)
                return {**dict.fromkeys(arns, StackHold(unknown=why)), **found}
            found[arn] = StackHold()
            continue
        members = data.get("StackResources")
        rows = [one for one in members if isinstance(one, dict)] if isinstance(members, list) else []
        for one in rows:
            held = one.get("ResourceStatus") not in _LEFT
            found[str(one.get("PhysicalResourceId"))] = StackHold(str(one.get("StackName") or "") if held else "")
        # A stack was found, and of a large one not all resources are listed.
        found.setdefault(arn, StackHold(str(rows[0].get("StackName")) if rows else "", "" if rows else "no answer"))
    return found


def _check_account(target: Target, account_id: str, caller_arn: str) -> None:
    """Raise ``AwsError`` if the caller is in another account than the target's."""
    if target.account_id is not None and account_id != target.account_id:
        raise AwsError(
            f"target {target.name} is for account {target.account_id}, but the credentials belong to account {account_id} ({caller_arn}); "
            "use other credentials, or correct accountId. Nothing was read or changed",
            operation="GetCallerIdentity",
            code="AccountMismatch",
        )


def _caller_identity(sts: IvsGateway) -> tuple[str, str]:
    """Return the caller's account and ARN."""
    try:
        identity = sts.call("GetCallerIdentity", {}).data
    except AwsError as error:
        if (
            error.code in CREDENTIAL_CODES
            and os.environ.get("AWS_ENDPOINT_URL_IVS")
            and not has_endpoint("AWS_ENDPOINT_URL_STS")
        ):
            hint = "AWS_ENDPOINT_URL_IVS is set but AWS_ENDPOINT_URL_STS is not, so AWS was asked for the caller's identity: set both, or endpointUrl in the target"
            error.args = (f"{error}; {hint}",)
        raise
    account, arn = identity.get("Account"), identity.get("Arn")
    if not account or not arn:
        raise AwsError(
            "GetCallerIdentity answered without an account; check that AWS_ENDPOINT_URL_STS and the proxy lead to AWS. Nothing was read or changed",
            operation="GetCallerIdentity",
            code=UNREADABLE,
        )
    return str(account), str(arn)


def _endpoint_beside_ivs(ivs_url: str, service: str) -> str | None:
    """Return the IVS endpoint for another service if the environment redirects only IVS, or ``None`` for botocore's choice."""
    variable = f"AWS_ENDPOINT_URL_{service.upper().replace('-', '_')}"
    return None if is_aws(ivs_url) or has_endpoint(variable) else ivs_url


def _require_writable(path: Path) -> None:
    """Raise ``OSError`` if the first write could not create this file."""
    folder = next(found for found in path.absolute().parents if found.exists())
    if path.exists() or (folder.is_dir() and os.access(folder, os.W_OK | os.X_OK)):
        return
    number = errno.EACCES if folder.is_dir() else errno.ENOTDIR
    raise OSError(number, os.strerror(number))


@contextmanager
def _run_sandbox(path: Path) -> Iterator[str]:
    """Run the embedded server on this state file and yield its URL."""
    from reconciler.sandbox import Sandbox, StoreError

    try:
        _require_writable(path)
        sandbox = Sandbox(db=path, create=False)
    except OSError as error:
        raise UsageError(
            f"the directory of the sandbox state {path} cannot be created: {error.strerror or error}; set another path in the target"
        ) from None
    except StoreError as error:
        why = str(error).removeprefix(f"{path}: ")
        raise UsageError(
            f"the sandbox state {path} cannot be used: {why}; set another path in the target, or remove the file"
        ) from None
    with sandbox as server:
        yield server.endpoint_url
