"""Decides which failed reads a run can continue without, and combines several errors into one.

A kind that the caller may not read is skipped, with what depends on it. IVSReadOnlyAccess, for example, does not allow
listing ad configurations (AWS managed policy reference, version 6). Imports no botocore, which is loaded when a connection is opened.
"""

from __future__ import annotations

from collections.abc import Sequence

from reconciler.errors import AwsError
from reconciler.model.kinds import Kind

DENIED_CODES = frozenset({"AccessDenied", "AccessDeniedException"})

CREDENTIAL_CODES = frozenset(
    {
        "AuthFailure",
        "ExpiredToken",
        "ExpiredTokenException",
        "IncompleteSignature",
        "InvalidAccessKeyId",
        "InvalidClientTokenId",
        "InvalidSignatureException",
        "MissingAuthenticationToken",
        "RequestExpired",
        "SignatureDoesNotMatch",
        "TokenRefreshRequired",
        "UnrecognizedClientException",
    }
)
"""Error codes of rejected credentials (API reference, page "Common errors", and STS)."""

_UNKNOWN_CODES = frozenset(
    {"UnknownOperation", "UnknownOperationException", "MissingAuthenticationTokenException", "NotImplemented"}
)
"""Error codes for an operation that botocore, a proxy or the endpoint does not know."""


def why_unreadable(kind: Kind, error: AwsError, *, needed: bool) -> str | None:
    """Return why a kind cannot be read, or ``None`` if the failure ends the run. ``needed`` says that the spec has resources of the kind."""
    if error.code in DENIED_CODES:
        return _explain(error)
    if needed:
        return None
    if error.code in _UNKNOWN_CODES or error.status == 501:
        return f"{kind.titles} are not supported by this endpoint ({error.code}), and no spec needs them: {error}"
    return None


def missing_permission(error: AwsError) -> str:
    """Return the missing permission. Raises the error again if it is not about a permission."""
    if error.code not in DENIED_CODES:
        raise error
    return _explain(error)


def join_errors(errors: Sequence[AwsError]) -> AwsError:
    """Return one error for several, naming every missing permission; the first keeps its code and request id."""
    first = errors[0]
    texts = dict.fromkeys(_explain(error) for error in errors)
    return AwsError(
        "; ".join(texts),
        operation=first.operation,
        code=first.code,
        status=first.status,
        request_id=first.request_id,
        retryable=first.retryable,
        calls=first.calls,
        service=first.service,
    )


def describe(error: AwsError) -> str:
    """Return the error's text with its code."""
    return f"{error.code}: {error}" if error.code and error.code not in str(error) else str(error)


def _explain(error: AwsError) -> str:
    if error.code in DENIED_CODES:
        return f"missing permission {error.service}:{error.operation}: {error}"
    return str(error) if not error.operation or error.operation in str(error) else f"{error.operation}: {error}"
