"""A lock in an S3 object, changed by conditional writes. The object is never deleted: a release is a conditional write too."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import Any

from reconciler.aws.objects import S3Object
from reconciler.errors import AwsError
from reconciler.model.target import LockHolder, S3Lock, Target, from_json, to_json

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
            most=_MAX_BYTES,
            sleep=sleep,
        )
        self.where = self._object.where

    def read(self) -> tuple[LockHolder | None, str]:
        """Return the current or last holder, and the token of the object. Raises ``AwsError``."""
        data, token = self._object.read()
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
        return self._object.write(json.dumps(to_json(holder), indent=1).encode() + b"\n", token)

    def force(self, holder: LockHolder) -> None:
        """Overwrite the lock in any state. Raises ``AwsError``."""
        _, token = self._object.read()
        self.write(holder, token)

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
