"""Which failed reads of a kind a run may live with, and how several failures become one message.

A kind that the caller may not read is left alone, and so is what depends on it; the rest goes on.
The managed policy IVSReadOnlyAccess, for one, lets nobody list ad configurations (AWS managed policy reference, version 6), nor does it know failover slates.
A caller who may read nothing at all has the wrong credentials, and the run ends.
"""

from __future__ import annotations

from collections.abc import Sequence

from reconciler.errors import AwsError
from reconciler.model.kinds import Kind

DENIED_CODES = frozenset({"AccessDenied", "AccessDeniedException"})

_UNKNOWN_CODES = frozenset(
    {"UnknownOperation", "UnknownOperationException", "MissingAuthenticationTokenException", "NotImplemented"}
)
"""How an installed botocore, an API front or an older endpoint says that it has no such operation."""


def unreadable(kind: Kind, error: AwsError, *, needed: bool) -> str | None:
    """Return why nothing may be concluded about the kind, or ``None`` when the failure ends the read. ``needed`` says that the spec has such resources."""
    if error.code in DENIED_CODES:
        return _explained(error)
    if needed:
        return None
    if error.code in _UNKNOWN_CODES or error.status == 501:
        return f"{kind.titles} are not known here ({error.code}), and no spec needs them: {error}"
    return None


def denied(error: AwsError) -> str:
    """Return which permission is missing. Raises the error again where none is."""
    if error.code not in DENIED_CODES:
        raise error
    return _explained(error)


def joined(errors: Sequence[AwsError]) -> AwsError:
    """Return one error for several, naming every missing permission; the first keeps its code and request id."""
    first = errors[0]
    texts = dict.fromkeys(_explained(error) for error in errors)
    return AwsError(
        "; ".join(texts),
        operation=first.operation,
        code=first.code,
        status=first.status,
        request_id=first.request_id,
        retryable=first.retryable,
        calls=first.calls,
    )


def _explained(error: AwsError) -> str:
    if error.code in DENIED_CODES:
        return f"the permission ivs:{error.operation} is missing: {error}"
    return str(error) if not error.operation or error.operation in str(error) else f"{error.operation}: {error}"
