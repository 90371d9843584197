"""An S3 object that several machines read and write, and a lock in one: reads are bounded, and writes are conditional.

S3 answers 412 if the condition fails and 409 during another write (API reference, ``PutObject``, ``If-None-Match`` and ``If-Match``).
The object of a lock is never deleted: a release is a conditional write too.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from reconciler.aws.client import answer_of
from reconciler.errors import UNREADABLE, AwsError
from reconciler.model.target import LockHolder, S3Lock, Target, holder_from_json, holder_to_json

_PAUSE_SECONDS = 1.0
_MISSING = frozenset({"NoSuchKey", "404"})
_CHANGED = frozenset({"PreconditionFailed", "ConditionalRequestConflict", "412", "409"})

OpenClient = Callable[[], Any]  # botocore builds its clients at run time


def open_s3(target: Target, connections: int, *, region: str | None = None, **seconds: float) -> Any:
    """Return a client of S3 with the credentials of a target, in its region by default. Raises botocore's errors, and ``ValueError`` for a bad URL.

    ``seconds`` are the timeouts of ``session.open_client``.
    """
    from reconciler.aws.session import (  # botocore, for projects with a lock or state in S3 only
        open_client,
        open_session,
    )

    session = open_session(target, target.endpoint_url)
    # The target's endpoint is that of IVS; botocore finds that of S3, including AWS_ENDPOINT_URL_S3.
    return open_client(session, "s3", target._replace(region=region or target.region), None, connections, **seconds)


class ListedObject(NamedTuple):
    """An object in a list: its key, its ETag, and its size in bytes."""

    key: str
    etag: str
    size: int


class S3Object:
    """The object at a bucket and key. A token is its ETag; empty means that it does not exist.

    ``what`` names it in messages, ``article`` what it should be, ``advice`` says what to do if it cannot be used; objects
    of more than ``max_bytes`` bytes are refused. A call is sent up to ``tries`` times.
    """

    def __init__(
        self,
        open_client: OpenClient,
        bucket: str,
        key: str,
        *,
        what: str,
        article: str,
        advice: str,
        max_bytes: int,
        tries: int = 4,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self.where = f"{what} s3://{bucket}/{key}"
        self._open_client = open_client
        self._place = {"Bucket": bucket, "Key": key}
        self._article = article
        self._advice = advice
        self._max_bytes = max_bytes
        self._tries = tries
        self._sleep = sleep

    def read(self) -> tuple[bytes | None, str]:
        """Return the content and the token; ``None`` if the object does not exist. Raises ``AwsError``."""
        try:
            answer = self._call("get_object", writes=False)
        except AwsError as error:
            if error.code in _MISSING:
                return None, ""
            raise
        return self._read_body(answer["Body"]), self._etag(answer, "GetObject")

    def write(self, body: bytes, token: str) -> str | None:
        """Write if nothing has changed since the token; return the new token, or ``None`` if something has. Raises ``AwsError``."""
        condition = {"IfMatch": token} if token else {"IfNoneMatch": "*"}
        try:
            answer = self._call("put_object", writes=True, Body=body, ContentType="application/json", **condition)
        except AwsError as error:
            if error.code in _CHANGED or error.status == 412:
                # It may have been this write, if its first answer was lost.
                data, written = self.read()
                return written if data == body else None
            if error.code in _MISSING and token:
                return None  # deleted since it was read
            raise
        return self._etag(answer, "PutObject")

    def _etag(self, answer: Any, operation: str) -> str:
        """Return the ETag of an answer; without one, neither a write nor a read can be believed. Raises ``AwsError``."""
        etag = answer.get("ETag")
        if not etag:
            raise AwsError(
                f"{self.where} cannot be used: {operation} answered without an ETag; check that the endpoint is that of S3",
                operation=operation,
                code=UNREADABLE,
            )
        return str(etag)

    def _read_body(self, body: Any) -> bytes:
        """Return the object's content. Raises ``AwsError``, also if it is too long."""
        content: bytes = answer_of(lambda: body.read(self._max_bytes + 1), "GetObject", writes=False)
        if len(content) > self._max_bytes:
            raise AwsError(
                f"{self.where} is not {self._article}: it is larger than {self._max_bytes} bytes; choose another key",
                operation="GetObject",
                code=UNREADABLE,
            )
        return content

    def _call(self, method: str, *, writes: bool, **parameters: object) -> Any:
        operation = "PutObject" if writes else "GetObject"
        for left in reversed(range(self._tries)):
            try:
                return answer_of(
                    lambda: getattr(self._open_client(), method)(**self._place, **parameters), operation, writes=writes
                )
            except AwsError as error:
                failure = error
            if left and failure.retryable:
                self._sleep(_PAUSE_SECONDS)
            else:
                break
        if failure.code not in _MISSING | _CHANGED:
            # Without an answer, the error already has advice about the network or the credentials.
            advice = f"; {self._advice}" if failure.status else ""
            failure.args = (f"{self.where} cannot be used: {failure}{advice}",)
        raise failure from None


def list_objects(open_client: OpenClient, bucket: str, prefix: str, limit: int) -> Iterator[ListedObject]:
    """Yield up to ``limit`` objects below a prefix, in the order of their keys. Raises ``AwsError``."""
    found = 0
    following: dict[str, str] = {}

    def list_page() -> Any:
        return open_client().list_objects_v2(Bucket=bucket, Prefix=prefix, **following)

    while True:
        try:
            answer = answer_of(list_page, "ListObjectsV2", writes=False)
        except AwsError as error:
            error.args = (f"s3://{bucket}/{prefix} cannot be listed: {error}; allow s3:ListBucket on it",)
            raise
        for item in answer.get("Contents", ()):
            if found == limit:
                return
            found += 1
            yield ListedObject(str(item["Key"]), str(item.get("ETag", "")), int(item.get("Size", 0)))
        token = answer.get("NextContinuationToken")
        if not token:
            return
        following = {"ContinuationToken": str(token)}


_MAX_BYTES = 64 * 1024


class S3LockBackend:
    """A lock in the object at a bucket and key. A token is the ETag of the object."""

    def __init__(self, lock: S3Lock, target: Target, *, sleep: Callable[[float], None] = time.sleep) -> None:
        self._lock = lock
        self._target = target
        self._made: Any = None  # botocore builds its clients at run time
        self._object = S3Object(
            self._client,
            lock.bucket,
            lock.key,
            what="the lock",
            article="a lock",
            advice="allow s3:GetObject and s3:PutObject on it, or correct lock in the target",
            max_bytes=_MAX_BYTES,
            sleep=sleep,
        )
        self.where = self._object.where

    def read(self) -> tuple[LockHolder | None, str]:
        """Return the current or last holder, and the token of the object. Raises ``AwsError``."""
        data, token = self._object.read()
        if data is None:
            return None, ""
        try:
            return holder_from_json(data), token
        except ValueError:
            raise AwsError(
                f"{self.where} is not a lock; choose another key, or release it with unlock --force",
                operation="GetObject",
            ) from None

    def write(self, holder: LockHolder, token: str) -> str | None:
        """Write if nothing has changed since the token; return the new token, or ``None`` if something has. Raises ``AwsError``."""
        return self._object.write(holder_to_json(holder), token)

    def force(self, holder: LockHolder) -> None:
        """Overwrite the lock in any state. Raises ``AwsError``."""
        _, token = self._object.read()
        self.write(holder, token)

    def _client(self) -> Any:
        if self._made is None:
            self._made = open_s3(self._target, 1, region=self._lock.region)
        return self._made
