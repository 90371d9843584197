"""Who calls, and where: account from the access key, region from the signature's scope, else from the host.

A 12-digit access key id *is* the account; other keys are looked up in the configured accounts and
else belong to the default account. Nothing is verified here; see `sigv4`.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from urllib.parse import parse_qs

from reconciler.sandbox.wire import Request, is_number

DEFAULT_ACCOUNT = "123456789012"
DEFAULT_REGION = "us-west-2"
_CREDENTIAL = re.compile(r"Credential=([^,\s]+)")
_ACCOUNT = re.compile(r"[0-9]{12}")
_HOST = re.compile(r"ivs\.([a-z0-9-]{1,32})\.(?:amazonaws\.com|api\.aws)(?::\d+)?$")
_REGION = re.compile(r"[a-z0-9-]{1,32}")


@dataclass(frozen=True, slots=True)
class AccessKey:
    """One configured caller. `secret` and the rest are needed for strict authentication only.

    `expires` is the instant (epoch seconds) from which the key is answered as expired, in either mode.
    """

    account: str
    secret: str = field(default="", repr=False)
    user: str = "sandbox"
    session_token: str = field(default="", repr=False)
    expires: float | None = None

    def __post_init__(self) -> None:
        """Refuse what could never be an account, or a caller."""
        if not all(isinstance(text, str) for text in (self.account, self.secret, self.user, self.session_token)):
            raise TypeError("account, secret, user and session_token are texts")
        if not _ACCOUNT.fullmatch(self.account):
            raise ValueError(f"an account is 12 digits, not {self.account!r}")
        if self.expires is not None and not is_number(self.expires):
            raise TypeError("expires is an instant, in epoch seconds")


@dataclass(frozen=True, slots=True)
class Caller:
    """The identity behind one request."""

    access_key: str
    account: str
    region: str
    user: str = "sandbox"
    service: str = ""

    @property
    def arn(self) -> str:
        """The principal, as IAM writes it."""
        return f"arn:aws:iam::{self.account}:user/{self.user}"


def access_keys(accounts: Mapping[str, str | AccessKey] | None) -> dict[str, AccessKey]:
    """Return configured callers; a bare string is the account of a key without a secret."""
    return {key: value if isinstance(value, AccessKey) else AccessKey(value) for key, value in (accounts or {}).items()}


def credential_scope(request: Request) -> tuple[str, ...]:
    """Access key, date, region, service, terminator as the request claims them; may be empty."""
    credential = _credential(request)
    return tuple(credential.split("/")) if credential else ()


def identifier(keys: Mapping[str, AccessKey]) -> Callable[[Request], Caller]:
    """Return what tells a request's caller, taken at their word, and remembers whom it has seen."""

    @functools.lru_cache(maxsize=1024)
    def known(credential: str, host: str) -> Caller:
        return _caller(credential.split("/"), host, keys)

    return lambda request: known(_credential(request), request.headers.get("host", ""))


def _credential(request: Request) -> str:
    found = _CREDENTIAL.search(request.headers.get("authorization", ""))
    if found:
        return found.group(1)
    if "X-Amz-Credential=" in request.query:
        return parse_qs(request.query).get("X-Amz-Credential", [""])[0]
    return ""


def _caller(scope: list[str], host: str, keys: Mapping[str, AccessKey]) -> Caller:
    access_key = scope[0]
    region = scope[2] if len(scope) > 2 and _REGION.fullmatch(scope[2]) else _region_of_host(host)
    service = scope[3] if len(scope) > 3 else ""
    known = keys.get(access_key)
    if known is not None:
        return Caller(access_key, known.account, region, known.user, service)
    if _ACCOUNT.fullmatch(access_key):
        return Caller(access_key, access_key, region, service=service)
    return Caller(access_key, DEFAULT_ACCOUNT, region, service=service)


def _region_of_host(host: str) -> str:
    """Return the region in the service's own host name, in either style, where a proxy passes it on; else the default."""
    found = _HOST.match(host)
    return found.group(1) if found else DEFAULT_REGION
