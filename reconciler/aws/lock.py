"""A lock in an S3 object, changed by conditional writes.

S3 answers 412 if the condition fails and 409 during another write (API reference, ``PutObject``, ``If-None-Match`` and ``If-Match``).
The object is never deleted: a release is a conditional write too.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import Any

from reconciler.errors import AwsError
from reconciler.model.lock import LockHolder, from_json, to_json
from reconciler.model.target import S3Lock, Target

_TRIES = 4
_PAUSE_SECONDS = 1.0
_MISSING = frozenset({"NoSuchKey", "404"})
_CHANGED = frozenset({"PreconditionFailed", "ConditionalRequestConflict", "412", "409"})


class S3LockBackend:
    """The object at a bucket and key. A token is the object's ETag."""

    def __init__(self, lock: S3Lock, target: Target, *, sleep: Callable[[float], None] = time.sleep) -> None:
        self.where = f"the lock s3://{lock.bucket}/{lock.key}"
        self._lock = lock
        self._target = target
        self._sleep = sleep
        self._made: Any = None  # botocore builds its clients at run time

    def read(self) -> tuple[LockHolder | None, str]:
        """Return its current or last holder, and the token of that state. Raises ``AwsError``."""
        data, token = self._object()
        if data is None:
            return None, ""
        try:
            return from_json(json.loads(data)), token
        except (ValueError, RecursionError):
            raise AwsError(
                f"{self.where} is not a lock; choose another key, or release it with unlock --force",
                operation="GetObject",
            ) from None

    def write(self, holder: LockHolder, token: str) -> str | None:
        """Write if nothing has changed since the token; return the new token, or ``None`` if something has. Raises ``AwsError``."""
        body = json.dumps(to_json(holder), indent=1).encode() + b"\n"
        condition = {"IfMatch": token} if token else {"IfNoneMatch": "*"}
        for left in reversed(range(_TRIES)):
            try:
                answer = self._call("put_object", writes=True, Body=body, ContentType="application/json", **condition)
            except AwsError as error:
                if error.code in _CHANGED or error.status == 412:
                    # It may have been this write, if its first answer was lost.
                    return self._token_of(body)
                if not error.retryable or not left:
                    raise
                self._sleep(_PAUSE_SECONDS)
            else:
                return str(answer["ETag"])
        raise AssertionError("the last try returns or raises")

    def force(self, holder: LockHolder) -> None:
        """Overwrite the lock, whatever its state. Raises ``AwsError``."""
        _, token = self._object()
        self.write(holder, token)

    def _token_of(self, body: bytes) -> str | None:
        data, token = self._object()
        return token if data == body else None

    def _object(self) -> tuple[bytes | None, str]:
        for left in reversed(range(_TRIES)):
            try:
                answer = self._call("get_object", writes=False)
                return answer["Body"].read(), str(answer["ETag"])
            except AwsError as error:
                if error.code in _MISSING:
                    return None, ""
                if not error.retryable or not left:
                    raise
                self._sleep(_PAUSE_SECONDS)
        raise AssertionError("the last try returns or raises")

    def _call(self, method: str, *, writes: bool, **parameters: object) -> Any:
        from reconciler.aws.errors import BOTO_ERRORS, to_aws_error

        operation = "PutObject" if writes else "GetObject"
        try:
            return getattr(self._client(), method)(Bucket=self._lock.bucket, Key=self._lock.key, **parameters)
        except BOTO_ERRORS as error:
            failure = to_aws_error(error, operation, writes=writes)
            if failure.code not in _MISSING | _CHANGED:
                failure.args = (
                    f"{self.where} cannot be used: {failure}; allow s3:GetObject and s3:PutObject on it, or correct lock in the target",
                )
            raise failure from None

    def _client(self) -> Any:
        if self._made is None:
            from dataclasses import replace

            from reconciler.aws.session import open_client, open_session

            session = open_session(self._target, self._target.endpoint_url)
            # The target's endpoint is that of IVS; botocore finds the one of S3, AWS_ENDPOINT_URL_S3 included.
            self._made = open_client(
                session, "s3", replace(self._target, region=self._lock.region or self._target.region), None, 1
            )
        return self._made
