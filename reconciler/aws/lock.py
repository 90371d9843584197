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
from reconciler.model.target import LockHolder, S3Lock, Target, from_json, to_json

_TRIES = 4
_MAX_BYTES = 64 * 1024
_PAUSE_SECONDS = 1.0
_MISSING = frozenset({"NoSuchKey", "404"})
_CHANGED = frozenset({"PreconditionFailed", "ConditionalRequestConflict", "412", "409"})


class S3LockBackend:
    """A lock in the object at a bucket and key. A token is the ETag of the object."""

    def __init__(self, lock: S3Lock, target: Target, *, sleep: Callable[[float], None] = time.sleep) -> None:
        self.where = f"the lock s3://{lock.bucket}/{lock.key}"
        self._lock = lock
        self._target = target
        self._sleep = sleep
        self._made: Any = None  # botocore builds its clients at run time

    def read(self) -> tuple[LockHolder | None, str]:
        """Return the current or last holder, and the token of the object. Raises ``AwsError``."""
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
        try:
            answer = self._call("put_object", writes=True, Body=body, ContentType="application/json", **condition)
        except AwsError as error:
            if error.code in _CHANGED or error.status == 412:
                # It may have been this write, if its first answer was lost.
                data, written = self._object()
                return written if data == body else None
            raise
        return self._etag(answer, "PutObject")

    def force(self, holder: LockHolder) -> None:
        """Overwrite the lock in any state. Raises ``AwsError``."""
        _, token = self._object()
        self.write(holder, token)

    def _object(self) -> tuple[bytes | None, str]:
        try:
            answer = self._call("get_object", writes=False)
        except AwsError as error:
            if error.code in _MISSING:
                return None, ""
            raise
        return self._read_body(answer["Body"]), self._etag(answer, "GetObject")

    def _etag(self, answer: Any, operation: str) -> str:
        """Return the ETag of an answer; without one, neither a write nor a read of the lock can be believed. Raises ``AwsError``."""
        etag = answer.get("ETag")
        if not etag:
            raise AwsError(
                f"{self.where} cannot be used: {operation} answered without an ETag; check that the endpoint is that of S3",
                operation=operation,
                code="UnreadableAnswer",
            )
        return str(etag)

    def _read_body(self, body: Any) -> bytes:
        """Return the object's content, at most ``_MAX_BYTES`` and one byte. Raises ``AwsError``."""
        from reconciler.aws.errors import BOTO_ERRORS, to_aws_error

        try:
            content: bytes = body.read(_MAX_BYTES + 1)
        except BOTO_ERRORS as error:
            raise to_aws_error(error, "GetObject", writes=False) from None
        if len(content) > _MAX_BYTES:
            raise AwsError(
                f"{self.where} is not a lock: it is larger than {_MAX_BYTES} bytes; choose another key",
                operation="GetObject",
                code="UnreadableAnswer",
            )
        return content

    def _call(self, method: str, *, writes: bool, **parameters: object) -> Any:
        from reconciler.aws.errors import BOTO_ERRORS, to_aws_error

        operation = "PutObject" if writes else "GetObject"
        for left in reversed(range(_TRIES)):
            try:
                return getattr(self._client(), method)(Bucket=self._lock.bucket, Key=self._lock.key, **parameters)
            except BOTO_ERRORS as error:
                failure = to_aws_error(error, operation, writes=writes)
            if left and failure.retryable:
                self._sleep(_PAUSE_SECONDS)
            else:
                break
        if failure.code not in _MISSING | _CHANGED:
            advice = "allow s3:GetObject and s3:PutObject on it, or correct lock in the target"
            failure.args = (f"{self.where} cannot be used: {failure}; {advice}",)
        raise failure from None

    def _client(self) -> Any:
        if self._made is None:
            from dataclasses import replace

            from reconciler.aws.session import open_client, open_session

            session = open_session(self._target, self._target.endpoint_url)
            # The target's endpoint is that of IVS; botocore finds that of S3, including AWS_ENDPOINT_URL_S3.
            self._made = open_client(
                session, "s3", replace(self._target, region=self._lock.region or self._target.region), None, 1
            )
        return self._made
