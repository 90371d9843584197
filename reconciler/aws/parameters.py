"""Parameters in Systems Manager Parameter Store that hold outputs: read, written with the stack as their owner, and deleted.

A parameter of another owner is never changed: the owner is the tag that IVS resources carry as well. ``PutParameter`` takes tags for a
new parameter only (API reference), so creating and overwriting are two calls. For a sandbox target, a file beside its state file stands
for the store, unless the environment sets an endpoint.
"""

from __future__ import annotations

import json
import os
import random
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from reconciler.aws.limiter import backoff_seconds, may_repeat
from reconciler.errors import AwsError, os_reason
from reconciler.files import replace_file
from reconciler.model.address import STACK
from reconciler.model.kinds import Repeat

_BATCH = 10
"""Names in one call (API reference, ``GetParameters``, ``DeleteParameters`` and ``GetParametersByPath``)."""

_DESCRIPTION = "Output of an IVS resource, written by ivs-reconciler"
_THERE_ALREADY = "ParameterAlreadyExists"


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
            self._send("PutParameter", Name=name, Value=value, Type="String", Description=_DESCRIPTION, Tags=tags)
        except AwsError as error:
            if error.code == _THERE_ALREADY:
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
        """Send a call, with retries: each has the same result when it is repeated. Raises ``AwsError``."""
        from reconciler.aws.errors import BOTO_ERRORS, to_aws_error

        calls = 0
        while True:
            calls += 1
            try:
                if self._opened is None:
                    self._opened = self._new_client()
                method = {method: name for name, method in self._opened.meta.method_to_api_mapping.items()}[operation]
                answer: Mapping[str, Any] = getattr(self._opened, method)(**parameters)
            except BOTO_ERRORS as error:
                failure = to_aws_error(error, operation, writes=operation == "PutParameter", service="ssm")
            except ValueError as error:
                raise AwsError(
                    f"cannot reach Parameter Store: {error}; correct AWS_ENDPOINT_URL_SSM", code="BadEndpoint", calls=0
                ) from None
            else:
                return answer
            if not may_repeat(failure, Repeat.SAME, calls):
                raise failure from None
            self._sleep(backoff_seconds(calls, self._draw()))


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
    if sandbox is not None and not (os.environ.get("AWS_ENDPOINT_URL_SSM") or os.environ.get("AWS_ENDPOINT_URL")):
        return ParameterFile(Path(f"{sandbox}.parameters.json"))
    return ParameterStore(new_client, sleep=sleep)
