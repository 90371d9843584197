"""The stores that values are published to: Secrets Manager, Parameter Store and files.

``SecretPublisher`` writes the value of a stream key to a secret, a parameter or a file. The value is passed from one call to the next;
no answer, message or log line contains it. Files are written atomically.

``Parameters`` hold outputs. A parameter of another owner is never changed: the owner is the tag that IVS resources carry as well.
``PutParameter`` takes tags for a new parameter only (API reference), so creating and overwriting are two calls.

Clients use the session and region of the target; botocore finds the endpoints, including ``AWS_ENDPOINT_URL_SECRETS_MANAGER`` and ``AWS_ENDPOINT_URL_SSM``.
For a sandbox target, a file beside its state file replaces each of the two, unless the environment sets an endpoint.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from reconciler.aws.client import Answer, ReadCalls, answer_of
from reconciler.aws.denials import DENIED_CODES
from reconciler.aws.limiter import backoff_seconds, may_repeat
from reconciler.errors import NOT_FOUND, UNREADABLE, AwsError, os_reason
from reconciler.files import locked, replace_file
from reconciler.model.address import STACK
from reconciler.model.kinds import Kind, Repeat
from reconciler.model.kinds.ivs import CHANNEL, STREAM_KEY
from reconciler.model.target import Sink, SinkValue, Store
from reconciler.network import has_endpoint
from reconciler.terminal import mask_value


def write_value_file(path: Path, value: str) -> None:
    """Write a new file that only its owner can read. Raises ``AwsError``, also if the file exists."""
    data = f"{value}\n".encode()
    try:
        if _link_new_file(path, data):
            return
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        raise AwsError(
            f"file {path} already exists and is not overwritten; choose another", code="FileExists", calls=0
        ) from None
    except OSError as error:
        raise _unwritable(path, error) from None
    try:
        with os.fdopen(handle, "wb") as stream:
            stream.write(data)
            stream.flush()
            os.fsync(stream.fileno())
    except OSError as error:
        # A partial value is useless, and the file would block the next attempt.
        path.unlink(missing_ok=True)
        raise _unwritable(path, error) from None


def _link_new_file(path: Path, data: bytes) -> bool:
    """Write an unnamed file and link it once it is on disk; return ``False`` if the system cannot do that. Raises ``FileExistsError``."""
    if not hasattr(os, "O_TMPFILE"):
        return False
    try:
        folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    except OSError:
        return False
    try:
        with os.fdopen(os.open(path.parent, os.O_WRONLY | os.O_TMPFILE, 0o600), "wb") as stream:
            stream.write(data)
            stream.flush()
            os.fsync(stream.fileno())
            os.link(f"/proc/self/fd/{stream.fileno()}", path, src_dir_fd=folder, follow_symlinks=True)
        os.fsync(folder)
    except FileExistsError:
        raise
    except OSError:
        return False  # the caller writes the file directly, or reports the error
    finally:
        os.close(folder)
    return True


def write_sandbox_store(path: Path, sink: Sink, value: str, *, patience: float = 30.0) -> None:
    """Store a stream key value of the sandbox, which is not a secret, in a file beside its state file.

    Raises ``AwsError`` if the file cannot be written, or another process locks it for more than ``patience`` seconds.
    """
    try:
        # Locked against other threads and processes, which would overwrite each other's values.
        with os.fdopen(os.open(path.with_name(path.name + ".lock"), os.O_RDWR | os.O_CREAT, 0o600)) as turn:
            if not locked(turn.fileno(), patience):
                raise AwsError(
                    f"{path}, the sandbox's {sink}, has been locked by another process for more than {patience:g} seconds; "
                    "check for a stopped process, then run again",
                    code="FileLocked",
                    calls=0,
                )
            stored: dict[str, str] = {}
            with contextlib.suppress(OSError, ValueError):
                stored = json.loads(path.read_text(encoding="utf-8"))
            stored[sink.place] = value
            replace_file(path, json.dumps(stored, indent=1))
    except OSError as error:
        raise AwsError(
            f"{path}, the sandbox's {sink}, cannot be written ({os_reason(error)})", code="FileUnwritable", calls=0
        ) from None


def _unwritable(path: Path, error: OSError) -> AwsError:
    return AwsError(
        f"file {path} cannot be written ({os_reason(error)}); choose another", code="FileUnwritable", calls=0
    )


NewClient = Callable[[str], Any]
"""Opens a botocore client of a service, with the target's credentials and region. Raises botocore's errors."""

_ENDPOINTS = {Store.SECRETS_MANAGER: "AWS_ENDPOINT_URL_SECRETS_MANAGER", Store.PARAMETER_STORE: "AWS_ENDPOINT_URL_SSM"}
_SERVICES = {Store.SECRETS_MANAGER: "secretsmanager", Store.PARAMETER_STORE: "ssm"}
_RESOURCE_EXISTS = "ResourceExistsException"


class Value(NamedTuple):
    """What is written to a sink, and the secret in it, which is masked in messages."""

    text: str
    secret: str


class Source(ReadCalls, Protocol):
    """Reads stream key values, and the channels they belong to."""

    def read_value(self, kind: Kind, arn: str, take: Callable[[str], None], /) -> Answer:
        """Read the secret value of a resource and pass it to ``take``, whose errors are raised. Raises ``AwsError``."""


class SecretPublisher:
    """Publishes stream key values of one target. ``sandbox`` is the file that holds the stores of a sandbox, ``None`` for AWS."""

    def __init__(
        self,
        source: Source,
        new_client: NewClient,
        *,
        sandbox: Path | None = None,
        sleep: Callable[[float], None] = time.sleep,
        draw: Callable[[], float] = random.random,
    ) -> None:
        self._source = source
        self._new_client = new_client
        self._sandbox = sandbox
        self._sleep = sleep
        self._draw = draw
        self._clients: dict[str, Any] = {}
        self._lock = threading.Lock()

    def publish(self, arn: str, sink: Sink) -> Answer:
        """Publish the value of a stream key to a sink. Raises ``AwsError``, whose message never contains the value."""
        write = self._writer_of(sink)
        if sink.value is SinkValue.KEY:
            return self._source.read_value(STREAM_KEY, arn, lambda value: write(Value(value, value)))
        found: list[str] = []
        answer = self._source.read_value(STREAM_KEY, arn, found.append)
        channel = str((STREAM_KEY.resource_in(answer.data) or {}).get("channelArn"))
        url, calls = self._ingest_url(channel)
        key = found.pop()
        write(Value(json.dumps({"url": url, "key": key}), key))
        return answer._replace(calls=answer.calls + calls)

    def _ingest_url(self, channel_arn: str) -> tuple[str, int]:
        """Return the URL to broadcast to, and how many calls that took. Raises ``AwsError``."""
        operation = str(CHANNEL.batch)
        answer = self._source.call(operation, {"arns": [channel_arn]})
        found = answer.data.get(CHANNEL.members)
        items = [item for item in found if isinstance(item, dict)] if isinstance(found, list) else []
        output = CHANNEL.outputs["ingestUrl"]
        url = output.value_of(output.text_in(items[0])) if items else ""
        if not url:
            raise AwsError(
                f"{operation}: the answer contains no ingest endpoint of {channel_arn}",
                operation=operation,
                code=NOT_FOUND,  # a new channel may not be found at first
                calls=answer.calls,
            )
        return url, answer.calls

    def close(self) -> None:
        """Close the clients of the stores."""
        for client in self._clients.values():
            client.close()

    def _writer_of(self, sink: Sink) -> Callable[[Value], None]:
        """Return a function that takes a value; nothing is read from IVS before the sink's client is open."""
        if sink.store is Store.FILE:
            return lambda value: write_value_file(Path(sink.name), value.text)
        if self._sandbox is not None and not has_endpoint(_ENDPOINTS[sink.store]):
            stand_in = self._sandbox
            return lambda value: write_sandbox_store(stand_in, sink, value.text)
        client = self._client(sink)
        put = self._put_secret if sink.store is Store.SECRETS_MANAGER else self._put_parameter
        return lambda value: put(client, sink, value)

    def _client(self, sink: Sink) -> Any:
        service = _SERVICES[sink.store]
        # A botocore session is not thread-safe; its clients are.
        with self._lock:
            if service not in self._clients:
                try:
                    self._clients[service] = answer_of(lambda: self._new_client(service), service, writes=False)
                except ValueError as error:
                    raise AwsError(
                        f"cannot reach {sink}: {error}; correct {_ENDPOINTS[sink.store]}", code="BadEndpoint", calls=0
                    ) from None
            return self._clients[service]

    def _put_secret(self, client: Any, sink: Sink, value: Value) -> None:
        """Put a new version of the secret; create a missing secret that is given by name.

        For a missing secret, AWS may answer AccessDenied to a caller whose permission is limited by ARN (observed), so that one is created too.
        """
        key = {"KmsKeyId": sink.kms_key} if sink.kms_key else {}
        attributes = {"Name": sink.name, "Description": "Stream key, written by ivs-reconciler", **key}
        for again in (False, True):
            try:
                self._send(
                    sink,
                    "PutSecretValue",
                    value,
                    lambda: client.put_secret_value(SecretId=sink.name, SecretString=value.text),
                )
            except AwsError as error:
                denied = error.code in DENIED_CODES
                if sink.name.startswith("arn:") or (denied and again) or not (denied or error.code == NOT_FOUND):
                    raise
                first = error
            else:
                return
            try:
                self._send(
                    sink, "CreateSecret", value, lambda: client.create_secret(SecretString=value.text, **attributes)
                )
            except AwsError as error:
                if denied and error.code in DENIED_CODES:
                    # Without permission to read, it is unknown whether it exists: name both permissions.
                    first.args = (f"{first}; and if it does not exist: {_without_prefix(sink, error)}",)
                    raise first from None
                if error.code != _RESOURCE_EXISTS:
                    raise
            else:
                return
        raise AwsError(
            f"{sink} neither exists nor can be created: it is being created and deleted by another process; apply again",
            code=NOT_FOUND,
        )

    def _put_parameter(self, client: Any, sink: Sink, value: Value) -> None:
        key = {"KeyId": sink.kms_key} if sink.kms_key else {}
        self._send(
            sink,
            "PutParameter",
            value,
            lambda: client.put_parameter(Name=sink.name, Value=value.text, Type="SecureString", Overwrite=True, **key),
        )

    def _send(self, sink: Sink, operation: str, value: Value, send: Callable[[], Any]) -> None:
        """Send with retries. Raises ``AwsError`` without the value, also if the answer names no version."""
        try:
            answer = _repeat(send, operation, _SERVICES[sink.store], self._sleep, self._draw)
        except AwsError as error:
            # Raised below, so that the error does not keep this one, whose text may contain the value.
            failure = error
        else:
            if _names_version(answer):
                return
            raise AwsError(
                f"{sink} cannot be used: {operation} answered without a version, so the value counts as not stored; "
                f"check that {_ENDPOINTS[sink.store]} and the proxy lead to AWS",
                operation=operation,
                code=UNREADABLE,
            )
        raise _refused(sink, operation, failure, value.secret)


def _names_version(answer: Any) -> bool:
    """Whether an answer of a store names what it stored: a version, or the ARN of a new secret."""
    texts = (answer.get("VersionId"), answer.get("ARN"))
    number = answer.get("Version")
    return any(isinstance(text, str) and text for text in texts) or (
        isinstance(number, int) and not isinstance(number, bool) and number > 0
    )


def _without_prefix(sink: Sink, error: AwsError) -> str:
    return str(error).removeprefix(f"cannot write {sink}: ")


def _refused(sink: Sink, operation: str, failure: AwsError, value: str) -> AwsError:
    text = mask_value(str(failure), value)
    head = "" if operation in text else f"{operation}: "
    return AwsError(
        f"cannot write {sink}: {head}{text}",
        operation=operation,
        code=mask_value(failure.code, value),
        status=failure.status,
        request_id=mask_value(failure.request_id, value),
    )


_BATCH = 10
"""Names in one call (API reference, ``GetParameters``, ``DeleteParameters`` and ``GetParametersByPath``)."""

_PARAMETER_DESCRIPTION = "Output of an IVS resource, written by ivs-reconciler"
_PARAMETER_EXISTS = "ParameterAlreadyExists"


class Parameters(Protocol):
    """Parameters of one account and region. Every method raises ``AwsError``."""

    def read(self, names: Sequence[str], /) -> Mapping[str, str]:
        """Return the values of the parameters that exist."""

    def below(self, folder: str, /) -> Sequence[str]:
        """Return the names of all parameters below a level."""

    def owner(self, name: str, /) -> str:
        """Return the stack that a parameter is tagged with; empty if it is not."""

    def create(self, name: str, value: str, stack: str, /) -> bool:
        """Create a parameter of a stack; return ``False`` if it exists."""

    def overwrite(self, name: str, value: str, /) -> None:
        """Replace the value of a parameter."""

    def delete(self, names: Sequence[str], /) -> None:
        """Delete parameters; one that does not exist is no error."""


class ParameterStore:
    """Parameter Store. ``new_client`` opens the client on first use."""

    def __init__(
        self,
        new_client: Callable[[], Any],
        *,
        sleep: Callable[[float], None] = time.sleep,
        draw: Callable[[], float] = random.random,
    ) -> None:
        self._new_client = new_client
        self._opened: Any = None
        self._methods: Mapping[str, str] = {}
        self._sleep = sleep
        self._draw = draw

    def read(self, names: Sequence[str], /) -> Mapping[str, str]:
        """Return the values of the parameters that exist."""
        found: dict[str, str] = {}
        for some in _batches(names):
            answer = self._send("GetParameters", Names=some)
            found |= {str(one["Name"]): str(one.get("Value")) for one in answer.get("Parameters", ())}
        return found

    def below(self, folder: str, /) -> Sequence[str]:
        """Return the names of all parameters below a level."""
        names: list[str] = []
        token: dict[str, str] = {}
        while True:
            answer = self._send("GetParametersByPath", Path=folder, Recursive=True, MaxResults=_BATCH, **token)
            names += [str(one["Name"]) for one in answer.get("Parameters", ())]
            if not answer.get("NextToken"):
                return names
            token = {"NextToken": str(answer["NextToken"])}

    def owner(self, name: str, /) -> str:
        """Return the stack that a parameter is tagged with; empty if it is not."""
        answer = self._send("ListTagsForResource", ResourceType="Parameter", ResourceId=name)
        return next((str(tag["Value"]) for tag in answer.get("TagList", ()) if tag.get("Key") == STACK), "")

    def create(self, name: str, value: str, stack: str, /) -> bool:
        """Create a parameter of a stack; return ``False`` if it exists."""
        tags = [{"Key": STACK, "Value": stack}]
        try:
            self._send(
                "PutParameter", Name=name, Value=value, Type="String", Description=_PARAMETER_DESCRIPTION, Tags=tags
            )
        except AwsError as error:
            if error.code == _PARAMETER_EXISTS:
                return False
            raise
        return True

    def overwrite(self, name: str, value: str, /) -> None:
        """Replace the value of a parameter."""
        self._send("PutParameter", Name=name, Value=value, Type="String", Overwrite=True)

    def delete(self, names: Sequence[str], /) -> None:
        """Delete parameters; one that does not exist is no error."""
        for some in _batches(names):
            self._send("DeleteParameters", Names=some)

    def close(self) -> None:
        """Close the client."""
        if self._opened is not None:
            self._opened.close()

    def _send(self, operation: str, **parameters: object) -> Mapping[str, Any]:
        """Send a call with retries, and return its answer. Raises ``AwsError``."""

        def send() -> Any:
            if self._opened is None:
                self._opened = self._new_client()
                self._methods = {method: name for name, method in self._opened.meta.method_to_api_mapping.items()}
            return getattr(self._opened, self._methods[operation])(**parameters)

        try:
            answer: Mapping[str, Any] = _repeat(
                send, operation, "ssm", self._sleep, self._draw, writes=operation == "PutParameter"
            )
        except ValueError as error:
            raise AwsError(
                f"cannot reach Parameter Store: {error}; correct {_ENDPOINTS[Store.PARAMETER_STORE]}",
                code="BadEndpoint",
                calls=0,
            ) from None
        return answer


def _repeat(
    send: Callable[[], Any],
    operation: str,
    service: str,
    sleep: Callable[[float], None],
    draw: Callable[[], float],
    *,
    writes: bool = True,
) -> Any:
    """Return the answer of a call, which is sent again where that may help: each has the same result when it is repeated. Raises ``AwsError``."""
    calls = 0
    while True:
        calls += 1
        try:
            return answer_of(send, operation, writes=writes, service=service)
        except AwsError as error:
            failure = error
        if not may_repeat(failure, Repeat.SAME, calls):
            raise failure from None
        sleep(backoff_seconds(calls, draw()))


def _batches(names: Sequence[str]) -> Iterator[list[str]]:
    return (list(names[at : at + _BATCH]) for at in range(0, len(names), _BATCH))


class ParameterFile:
    """The parameters of a sandbox target, in a JSON file: value and owner by name."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def read(self, names: Sequence[str], /) -> Mapping[str, str]:
        """Return the values of the parameters that exist."""
        stored = self._stored()
        return {name: stored[name]["value"] for name in names if name in stored}

    def below(self, folder: str, /) -> Sequence[str]:
        """Return the names of all parameters below a level."""
        return [name for name in self._stored() if name.startswith(f"{folder}/")]

    def owner(self, name: str, /) -> str:
        """Return the stack that a parameter belongs to."""
        return self._stored().get(name, {}).get("stack", "")

    def create(self, name: str, value: str, stack: str, /) -> bool:
        """Create a parameter of a stack; return ``False`` if it exists."""
        stored = self._stored()
        if name in stored:
            return False
        self._keep({**stored, name: {"value": value, "stack": stack}})
        return True

    def overwrite(self, name: str, value: str, /) -> None:
        """Replace the value of a parameter."""
        stored = self._stored()
        self._keep({**stored, name: {**stored.get(name, {}), "value": value}})

    def delete(self, names: Sequence[str], /) -> None:
        """Delete parameters."""
        self._keep({name: one for name, one in self._stored().items() if name not in set(names)})

    def close(self) -> None:
        """Do nothing: the file is not kept open."""

    def _stored(self) -> dict[str, dict[str, str]]:
        try:
            found = json.loads(self._path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            return {}
        except (OSError, ValueError):
            raise AwsError(
                f"{self._path}, the sandbox's Parameter Store, cannot be read; remove the file", code="FileUnreadable"
            ) from None
        return found if isinstance(found, dict) else {}

    def _keep(self, stored: Mapping[str, Mapping[str, str]]) -> None:
        try:
            replace_file(self._path, json.dumps(stored, indent=1, sort_keys=True))
        except OSError as error:
            raise AwsError(
                f"{self._path}, the sandbox's Parameter Store, cannot be written ({os_reason(error)})",
                code="FileUnwritable",
            ) from None


def open_parameters(
    new_client: Callable[[], Any], sandbox: str | None, sleep: Callable[[float], None]
) -> ParameterStore | ParameterFile:
    """Return the parameters of a target: a file for a sandbox, unless the environment sets an endpoint."""
    if sandbox is not None and not has_endpoint(_ENDPOINTS[Store.PARAMETER_STORE]):
        return ParameterFile(Path(f"{sandbox}.parameters.json"))
    return ParameterStore(new_client, sleep=sleep)
