"""Sessions and clients of AWS: whose credentials, which endpoint, which limits.

Each set of credentials has a session of its own; the service models are loaded once for all of them.

botocore gets credentials while it signs, in the middle of any call, and its providers run programs, read files and ask other services.
They raise far more than botocore's own errors, and a write that failed with one of those would look as if it might have been sent.
So every session is guarded: whatever goes wrong there becomes ``CredentialsUnavailable``, which says that nothing was sent.

Two kinds of credentials involve a person: a role that takes the code of an MFA device, and a sign-on (``aws sso login``).
Many targets may share one profile, and are read at the same time.
A code is valid once and typed by hand, so it is asked for once, and all sessions of the profile share what it opened.
What renews a sign-on is valid once too, so one thread renews it, and the others find it renewed.

This module imports botocore, which takes a fifth of a plan of 5,000 channels: import it only where a connection is opened.
"""

from __future__ import annotations

import functools
import os
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from botocore import exceptions as boto
from botocore.config import Config
from botocore.credentials import AssumeRoleCredentialFetcher, DeferredRefreshableCredentials
from botocore.loaders import create_loader
from botocore.parsers import ResponseParserError
from botocore.session import Session

from reconciler import terminal
from reconciler.aws.parser import PlainParserFactory
from reconciler.model.target import DEFAULT_ACCOUNT, Target

SESSION_NAME = "ivs-reconciler"
"""The role session name that CloudTrail shows."""

CONNECT_SECONDS = 10
READ_SECONDS = 60

_PROVIDERS_RAISE = (
    boto.BotoCoreError,
    boto.ClientError,
    ResponseParserError,
    OSError,  # a program or a token file that is not there
    RuntimeError,  # botocore's, for renewed credentials that have expired already
    ValueError,  # what a program or a file holds is no JSON, no text, no date
    TypeError,  # it is JSON of another form, or a date without its time zone
    AttributeError,
    LookupError,
)

_DIGITS = 6
_LAST_SECONDS = 5
_ASK_AGAIN_SECONDS = 30.0
"""How long a refused code is everybody's: a device shows the next one after that. A controller that runs on asks then."""

_TRUST_SECONDS = 300.0
"""How long after a renewal others may renew at the same time: botocore renews a sign-on a quarter of an hour before its end."""


class CredentialsUnavailable(boto.BotoCoreError):  # type: ignore[misc]  # botocore has no types
    """Credentials could not be found or renewed, so the call that needed them was never sent. ``cause`` is what a provider raised, ``wanted`` what they were to be."""

    fmt = "the credentials are unavailable"

    def __init__(self, cause: Exception, wanted: CredentialRequest) -> None:
        super().__init__()
        self.cause = cause
        self.wanted = wanted


class NoMfaCode(boto.BotoCoreError):  # type: ignore[misc]  # botocore has no types
    """The code of an MFA device was asked for and not given."""

    fmt = "{why}"


class CredentialRequest(NamedTuple):
    """What credentials are to be, as the profile or the environment says.

    ``role`` is theirs, ``mfa`` the device whose code it takes; ``sign_on`` is the profile to sign in with, and ``session`` what it signs in to.
    """

    role: str = ""
    mfa: str = ""
    sign_on: str = ""
    session: str = ""


def open_session(target: Target, endpoint_url: str | None) -> Session:
    """Return the session that holds the target's credentials. Raises botocore's errors."""
    if target.sandbox is not None:
        # The embedded server takes the account for the access key; the machine's AWS settings have no part in it, not even broken ones.
        no_files = dict.fromkeys(("config_file", "credentials_file"), (None, None, os.devnull, None))
        session = _new_session(target, {"profile": (None, None, None, None), **no_files})
        session.set_credentials(target.account_id or DEFAULT_ACCOUNT, "sandbox")
    else:
        session = _new_session(target, profile=target.profile)
        chain = _guard(lambda: session.get_component("credential_provider"), CredentialRequest())
        session.register_component("credential_provider", _GuardedProviders(chain, session))
        if target.role_arn is not None:
            credentials = _assume_role(session, target, endpoint_url)
            session = _new_session(target, profile=target.profile)
            session.register_component("credential_provider", _FixedProvider(credentials))
    return session


def open_client(
    session: Session,
    service: str,
    target: Target,
    endpoint_url: str | None,
    connections: int,
    *,
    read_seconds: float = READ_SECONDS,
    connect_seconds: float = CONNECT_SECONDS,
) -> Any:
    """Return a client of the target's region. Without an endpoint botocore finds it, ``AWS_ENDPOINT_URL…`` included.

    Raises botocore's errors, and ``ValueError`` for a bad URL.
    """
    return session.create_client(
        service,
        region_name=target.region,
        endpoint_url=endpoint_url,
        config=_config(target, connections, read_seconds, connect_seconds),
    )


def _config(
    target: Target, connections: int, read_seconds: float = READ_SECONDS, connect_seconds: float = CONNECT_SECONDS
) -> Config:
    """Return the limits of every client: one attempt each (repeating is the gateway's), our timeouts, few connections."""
    return Config(
        retries={"total_max_attempts": 1, "mode": "standard"},
        connect_timeout=connect_seconds,
        read_timeout=read_seconds,
        max_pool_connections=connections,
        user_agent_extra=SESSION_NAME,
        # A proxy would not find this machine's loopback; None leaves the choice to the environment.
        proxies={} if target.sandbox is not None else None,
    )


def _new_session(target: Target, session_vars: dict[str, object] | None = None, profile: str | None = None) -> Session:
    session = Session(session_vars=session_vars, profile=profile)
    # Some providers of credentials open clients, which are to be in the target's region.
    session.set_config_variable("region", target.region)
    session.register_component("data_loader", _model_loader())
    session.register_component("response_parser_factory", PlainParserFactory())
    return session


@functools.cache
def _model_loader() -> Any:
    """Return botocore's loader of service models; it keeps what it read, which is the same for every session."""
    return create_loader(os.environ.get("AWS_DATA_PATH"))


def _assume_role(source: Any, target: Target, endpoint_url: str | None) -> Any:
    """Return credentials of the target's role that renew themselves, got with the source session's."""
    source_credentials = source.get_credentials()
    if source_credentials is None:
        raise boto.NoCredentialsError
    create = functools.partial(
        source.create_client, region_name=target.region, endpoint_url=endpoint_url, config=_config(target, 1)
    )
    extra = {
        "RoleSessionName": SESSION_NAME,
        **({"ExternalId": target.external_id} if target.external_id is not None else {}),
    }
    fetcher = AssumeRoleCredentialFetcher(create, source_credentials, target.role_arn, extra_args=extra)
    return _Guarded(
        DeferredRefreshableCredentials(refresh_using=fetcher.fetch_credentials, method="assume-role"),
        CredentialRequest(role=str(target.role_arn)),
    )


class _FixedProvider:
    """A credential provider, as a botocore session asks for one, that has its credentials already."""

    def __init__(self, credentials: object) -> None:
        self._credentials = credentials

    def load_credentials(self) -> object:
        """Return them."""
        return self._credentials


class _CredentialWrapper:
    """Credentials as botocore takes them, around others: everything is theirs but what a subclass does in its own way."""

    def __init__(self, credentials: Any) -> None:
        self._credentials = credentials

    def __getattr__(self, name: str) -> Any:
        return getattr(self._credentials, name)


class _Guarded(_CredentialWrapper):
    """Credentials of botocore whose renewal raises ``CredentialsUnavailable`` alone."""

    def __init__(self, credentials: Any, wanted: CredentialRequest) -> None:
        super().__init__(credentials)
        self._credential_request = wanted

    def get_frozen_credentials(self) -> Any:
        """Return credentials that are good now, renewed if need be; botocore signs with these."""
        return _guard(self._credentials.get_frozen_credentials, self._credential_request)


class _GuardedProviders:
    """botocore's chain of credential providers, as a botocore session asks for one, guarded."""

    def __init__(self, chain: Any, session: Any) -> None:
        self._chain = chain
        self._session = session

    def load_credentials(self) -> Any:
        """Return the credentials of the first provider that has some, or ``None``."""
        wanted = _credential_request(self._session)
        if wanted.mfa:
            # botocore has no other way to ask at a terminal that is there, while nothing else is drawn, and not for ever.
            self._chain.get_provider("assume-role")._prompter = _ask_for_code  # noqa: SLF001
        credentials = _guard(self._chain.load_credentials, wanted)
        if credentials is None:
            return None
        of_a_role = "assume-role" in str(credentials.method)
        found: Any = _Guarded(credentials, wanted if of_a_role else wanted._replace(role=""))
        if wanted.session and credentials.method in ("sso", "assume-role"):
            found = _SerialRenewal(found, wanted.session)
        if wanted.mfa and credentials.method == "assume-role":
            # They cannot be renewed without a person, so they are used to their end, not to ten minutes before it.
            credentials._advisory_refresh_timeout = credentials._mandatory_refresh_timeout = _LAST_SECONDS  # noqa: SLF001
            found = _share_credentials(found, str(self._session.profile), wanted)
        return found


def _credential_request(session: Any) -> CredentialRequest:
    """Return what the profile asks for, its source profiles included; a profile that cannot be read is its provider's to complain of."""
    try:
        profiles: Mapping[str, Mapping[str, object]] = session.full_config.get("profiles", {})
        name = str(session.profile or "default")
    except boto.BotoCoreError:
        return CredentialRequest()
    role = str(profiles.get(name, {}).get("role_arn") or os.environ.get("AWS_ROLE_ARN") or "")
    mfa, seen = "", set[str]()
    while name not in seen:
        seen.add(name)
        profile = profiles.get(name, {})
        if "role_arn" not in profile:
            session_name = str(profile.get("sso_session") or profile.get("sso_start_url") or "")
            return CredentialRequest(role, mfa, name if session_name else "", session_name)
        mfa = mfa or str(profile.get("mfa_serial") or "")
        name = str(profile.get("source_profile") or "")
    return CredentialRequest(role, mfa)


def _guard(get: Callable[[], Any], wanted: CredentialRequest) -> Any:
    try:
        return get()
    except (CredentialsUnavailable, boto.NoCredentialsError):
        raise
    except _PROVIDERS_RAISE as error:
        raise CredentialsUnavailable(error, wanted) from None


def _ask_for_code(question: str) -> str:
    try:
        return terminal.ask_for_digits("".join(char for char in question if char.isprintable()), _DIGITS)
    except terminal.NoAnswer as error:
        raise NoMfaCode(why=str(error)) from None


def _share_credentials(credentials: Any, profile: str, wanted: CredentialRequest) -> Any:
    """Return the credentials that all sessions of a profile share: these, or those that an earlier session brought."""
    with _LOCK:
        found = _SHARED.get(profile)
        if found is None or found.is_spent():
            found = _SHARED[profile] = _SharedCredentials(credentials, wanted)
        return found


class _SharedCredentials(_CredentialWrapper):
    """Credentials that ask a person. A failure is that of all who share them, those who come a moment later included: nobody is asked for each target."""

    def __init__(self, credentials: Any, wanted: CredentialRequest) -> None:
        super().__init__(credentials)
        self._credential_request = wanted
        self._turn = threading.Lock()
        self._failure: Exception | None = None
        self._failed_at = 0.0

    def get_frozen_credentials(self) -> Any:
        """Return credentials that are good now."""
        with self._turn:
            if self._failure is not None:
                raise CredentialsUnavailable(self._failure, self._credential_request)
            try:
                return self._credentials.get_frozen_credentials()
            except CredentialsUnavailable as error:
                self._failure, self._failed_at = error.cause, time.monotonic()
                raise

    def is_spent(self) -> bool:
        """Whether it failed long enough ago to ask anew."""
        return self._failure is not None and time.monotonic() > self._failed_at + _ASK_AGAIN_SECONDS


class _SerialRenewal(_CredentialWrapper):
    """Credentials of a sign-on: the first to renew goes alone."""

    def __init__(self, credentials: Any, session: str) -> None:
        super().__init__(credentials)
        self._session = session

    def get_frozen_credentials(self) -> Any:
        """Return credentials that are good now."""
        if self._may_renew_now():
            return self._credentials.get_frozen_credentials()
        with _LOCK:
            turn = _TURNS.setdefault(self._session, threading.Lock())
        with turn:
            if not self._may_renew_now():
                found = self._credentials.get_frozen_credentials()
                _RENEWED[self._session] = time.monotonic()
                return found
        return self._credentials.get_frozen_credentials()

    def _may_renew_now(self) -> bool:
        return (
            not self._credentials.refresh_needed()
            or time.monotonic() < _RENEWED.get(self._session, -_TRUST_SECONDS) + _TRUST_SECONDS
        )


_LOCK = threading.Lock()
_SHARED: dict[str, _SharedCredentials] = {}
_TURNS: dict[str, threading.Lock] = {}
_RENEWED: dict[str, float] = {}
