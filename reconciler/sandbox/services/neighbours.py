"""The neighbouring services on the same port: found by target header or form body, on POST /."""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass

from reconciler.sandbox.identity import Caller
from reconciler.sandbox.services import sts
from reconciler.sandbox.wire import ApiError, Request, Response, error_response


@dataclass(frozen=True, slots=True)
class Neighbour:
    """One call to a neighbouring service."""

    service: str
    operation: str
    signing_name: str

    def answer(
        self,
        connection: sqlite3.Connection,
        request: Request,
        caller: Caller,
        now: float,
        request_id: str,
    ) -> Response:
        """Return the answer, or an `ApiError`."""
        if self.service == "sts" and self.operation == "GetCallerIdentity":
            return sts.answer(caller, request_id)
        raise ApiError(
            "UnknownOperationException",
            f"the sandbox does not answer {self.service}:{self.operation or '(no action)'}",
        )


def find(request: Request) -> Neighbour | None:
    """Return the neighbouring service a request is for, if it is for one."""
    if request.method != "POST" or request.path not in ("", "/"):
        return None
    return Neighbour("sts", sts.action(request), "sts")


def failure(service: str, error: ApiError, status: int, request_id: str) -> Response:
    """Return an error in the neighbour's own form."""
    if service == "sts":
        return sts.failure(error, status, request_id)
    return error_response(status, error.code, error.message, request_id)
