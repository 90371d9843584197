"""The caller of a request, and the verification of its signature.

Account: an access key id of 12 digits is the account; others are looked up in the configured accounts, or are credentials
of an assumed role, which carry theirs, and else belong to the default account. Region: from the credential scope, else from the host, else the default.

With auth="strict" signatures (SigV4) are verified. Error codes: API reference, common errors. The canonical path is the
received path encoded once more, as for every service but S3. No message repeats a signature, a secret or a token.
"""

from __future__ import annotations

import base64
import functools
import hashlib
import hmac
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from urllib.parse import parse_qs, quote

from reconciler.sandbox.wire import ApiError, Request, is_number

DEFAULT_ACCOUNT = "123456789012"
DEFAULT_REGION = "us-west-2"
_CREDENTIAL = re.compile(r"Credential=([^,\s]+)")
_ACCOUNT = re.compile(r"[0-9]{12}")
_HOST = re.compile(r"[a-z-]+\.([a-z0-9-]{1,32})\.(?:amazonaws\.com|api\.aws)(?::\d+)?$")
_REGION = re.compile(r"[a-z0-9-]{1,32}")
_ALGORITHM = "AWS4-HMAC-SHA256"
_SKEW_SECONDS = 300
_SIGNED = re.compile(r"SignedHeaders=([^,\s]+)")
_SIGNATURE = re.compile(r"Signature=([0-9a-f]{64})")
_SPACES = re.compile(r" +")
_ASSUMED = "assumed-role/"
_ISSUED = re.compile(r"ASIA[0-9]{12}[A-Z2-7]{4}")


@dataclass(frozen=True, slots=True)
class AccessKey:
    """One configured access key.

    secret, session_token: for auth="strict" only.
    expires: the instant (epoch seconds) from which the key is expired, in either mode.
    """

    account: str
    secret: str = field(default="", repr=False)
    user: str = "sandbox"
    session_token: str = field(default="", repr=False)
    expires: float | None = None

    def __post_init__(self) -> None:
        """Raise TypeError or ValueError for values that cannot be right."""
        if not all(isinstance(text, str) for text in (self.account, self.secret, self.user, self.session_token)):
            raise TypeError("account, secret, user and session_token must be strings")
        if not _ACCOUNT.fullmatch(self.account):
            raise ValueError(f"an account must be 12 digits, not {self.account!r}")
        if self.expires is not None and not is_number(self.expires):
            raise TypeError("expires must be a number of epoch seconds")


@dataclass(frozen=True, slots=True)
class Caller:
    """The identity of the caller of one request."""

    access_key: str
    account: str
    region: str
    user: str = "sandbox"
    service: str = ""

    @property
    def arn(self) -> str:
        """The IAM principal, or the STS principal of an assumed role."""
        if self.user.startswith(_ASSUMED):
            return f"arn:aws:sts::{self.account}:{self.user}"
        return f"arn:aws:iam::{self.account}:user/{self.user}"


def access_keys(accounts: Mapping[str, str | AccessKey] | None) -> dict[str, AccessKey]:
    """Return the configured access keys; a string is the account of a key without a secret."""
    return {key: value if isinstance(value, AccessKey) else AccessKey(value) for key, value in (accounts or {}).items()}


def issue(account: str, role: str, session: str, expires: float) -> tuple[str, AccessKey]:
    """Return the access key id and the credentials of an assumed role until ``expires``, in epoch seconds.

    The session token says all of it, so nothing is stored, and every process that serves the same state knows it.
    """
    token = base64.urlsafe_b64encode(json.dumps([account, role, session, expires]).encode()).decode()
    suffix = base64.b32encode(hashlib.sha256(token.encode()).digest()).decode()[:4]
    secret = base64.b64encode(hashlib.sha512(token.encode()).digest()).decode()[:40]
    return f"ASIA{account}{suffix}", AccessKey(account, secret, f"{_ASSUMED}{role}/{session}", token, expires)


@functools.lru_cache(maxsize=1024)
def issued(access_key: str, token: str) -> AccessKey | None:
    """Return the credentials that were issued with this id and session token, or ``None``."""
    if not _ISSUED.fullmatch(access_key):
        return None
    try:
        account, role, session, expires = json.loads(base64.urlsafe_b64decode(token))
        known, key = issue(account, role, session, expires)
    except (ValueError, TypeError):
        return None
    return key if (known, key.session_token) == (access_key, token) else None


def key_of(request: Request, access_key: str, keys: Mapping[str, AccessKey]) -> AccessKey | None:
    """Return the access key of a request: a configured one, or one of an assumed role."""
    return keys.get(access_key) or issued(access_key, request.headers.get("x-amz-security-token", ""))


def identifier(keys: Mapping[str, AccessKey]) -> Callable[[Request], Caller]:
    """Return a function from a request to its caller, unverified; it caches callers."""

    @functools.lru_cache(maxsize=1024)
    def cached(credential: str, host: str, known: AccessKey | None) -> Caller:
        return _caller(credential.split("/"), host, known)

    def identify(request: Request) -> Caller:
        credential = _credential(request)
        known = key_of(request, credential.partition("/")[0], keys)
        return cached(credential, request.headers.get("host", ""), known)

    return identify


def _credential(request: Request) -> str:
    found = _CREDENTIAL.search(request.headers.get("authorization", ""))
    if found:
        return found.group(1)
    if "X-Amz-Credential=" in request.query:
        return parse_qs(request.query).get("X-Amz-Credential", [""])[0]
    return ""


def _caller(scope: list[str], host: str, known: AccessKey | None) -> Caller:
    access_key = scope[0]
    region = scope[2] if len(scope) > 2 and _REGION.fullmatch(scope[2]) else _region_of_host(host)
    service = scope[3] if len(scope) > 3 else ""
    if known is not None:
        return Caller(access_key, known.account, region, known.user, service)
    if _ACCOUNT.fullmatch(access_key):
        return Caller(access_key, access_key, region, service=service)
    return Caller(access_key, DEFAULT_ACCOUNT, region, service=service)


def _region_of_host(host: str) -> str:
    """Return the region in a host name of AWS (a proxy may pass it on), else the default."""
    found = _HOST.match(host)
    return found.group(1) if found else DEFAULT_REGION


def verify(request: Request, keys: Mapping[str, AccessKey], service: str, now: float) -> None:
    """Raise ApiError unless the signature is valid."""
    header = request.headers.get("authorization", "")
    if not header:
        raise ApiError("MissingAuthenticationTokenException", "Missing Authentication Token")
    scope = tuple(_credential(request).split("/"))
    signed, signature = _SIGNED.search(header), _SIGNATURE.search(header)
    if not header.startswith(_ALGORITHM) or len(scope) != 5 or not signed or not signature:
        raise ApiError(
            "IncompleteSignatureException",
            "Authorization header requires Credential, SignedHeaders and Signature parameters",
        )
    if "host" not in signed.group(1).split(";"):
        raise ApiError(
            "InvalidSignatureException", "'Host' or ':authority' must be a 'SignedHeader' in the AWS Authorization."
        )
    key = key_of(request, scope[0], keys)
    token = request.headers.get("x-amz-security-token", "")
    if key is None or not key.secret or not hmac.compare_digest(token.encode(), key.session_token.encode()):
        raise ApiError("UnrecognizedClientException", "The security token included in the request is invalid.")
    refuse_expired(key, now)
    _check_time(request, scope, service, now)
    expected = _signature(request, key.secret, scope, signed.group(1))
    if not hmac.compare_digest(expected, signature.group(1)):
        raise ApiError(
            "InvalidSignatureException",
            "The request signature we calculated does not match the signature you provided. "
            "Check your AWS Secret Access Key and signing method. Consult the service "
            "documentation for details.",
        )


def late_text(stamp: str, now: float) -> str:
    """Return the message for a signature that is too old, as a slow clock causes."""
    return f"Signature expired: {stamp} is now earlier than {_stamp(now - _SKEW_SECONDS)} ({_stamp(now)} - 5 min.)"


def _early_text(stamp: str, now: float) -> str:
    return (
        f"Signature not yet current: {stamp} is still later than {_stamp(now + _SKEW_SECONDS)} ({_stamp(now)} + 5 min.)"
    )


def _stamp(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).strftime("%Y%m%dT%H%M%SZ")


def refuse_expired(key: AccessKey, now: float) -> None:
    """Raise ApiError if the key has expired."""
    if key.expires is not None and now >= key.expires:
        raise ApiError("ExpiredTokenException", "The security token included in the request is expired")


def _check_time(request: Request, scope: tuple[str, ...], service: str, now: float) -> None:
    stamp = request.headers.get("x-amz-date", "")
    try:
        at = datetime.strptime(stamp, "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC).timestamp()
    except ValueError:
        raise ApiError("IncompleteSignatureException", "Date must be in ISO-8601 'basic format'") from None
    if abs(at - now) > _SKEW_SECONDS:
        raise ApiError("InvalidSignatureException", late_text(stamp, now) if at < now else _early_text(stamp, now))
    if scope[1] != stamp[:8]:
        raise ApiError(
            "InvalidSignatureException",
            "Date in Credential scope does not match YYYYMMDD from ISO-8601 version of date",
        )
    if scope[3] != service or scope[4] != "aws4_request":
        raise ApiError("InvalidSignatureException", f"Credential should be scoped to correct service: '{service}'.")


def _signature(request: Request, secret: str, scope: tuple[str, ...], signed: str) -> str:
    headers = "".join(
        f"{name}:{_SPACES.sub(' ', request.headers.get(name, '').strip())}\n" for name in signed.split(";")
    )
    payload = request.headers.get("x-amz-content-sha256", "")
    if payload != "UNSIGNED-PAYLOAD":
        payload = hashlib.sha256(request.body).hexdigest()
    canonical = "\n".join(
        (
            request.method,
            quote(request.path, safe="/-_.~"),
            "&".join(sorted(request.query.split("&"))),
            headers,
            signed,
            payload,
        )
    )
    text = "\n".join(
        (_ALGORITHM, request.headers["x-amz-date"], "/".join(scope[1:]), hashlib.sha256(canonical.encode()).hexdigest())
    )
    key = f"AWS4{secret}".encode()
    for part in scope[1:]:
        key = hmac.digest(key, part.encode(), "sha256")
    return hmac.digest(key, text.encode(), "sha256").hex()
