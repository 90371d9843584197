"""Opens botocore sessions and clients: credentials, endpoints, TLS, timeouts.

botocore gets credentials while it signs a call; its providers run programs, read files and call services, and raise more than botocore's errors.
Each session turns such a failure into ``CredentialsUnavailable``, which means that the call was not sent.
Targets that share a profile are read at the same time: an MFA code, which is valid once, is asked for once per profile,
and one thread renews an SSO session, whose token is valid once too. Imports botocore, which takes a fifth of a plan of 5,000 channels.

All clients share one TLS context for each CA bundle, and all sessions the parsed AWS configuration files and botocore's event handlers:
with many targets these were most of the CPU time (128 ms a target for the certificates; the files grow with the number of profiles).
"""

from __future__ import annotations

import contextlib
import errno
import functools
import os
import ssl
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from botocore import configloader
from botocore import exceptions as boto
from botocore.config import Config
from botocore.credentials import AssumeRoleCredentialFetcher, DeferredRefreshableCredentials
from botocore.handlers import BUILTIN_HANDLERS, REGISTER_FIRST, REGISTER_LAST
from botocore.hooks import EventAliaser, HierarchicalEmitter
from botocore.httpsession import URLLib3Session, create_urllib3_context
from botocore.loaders import JSONFileLoader, Loader
from botocore.parsers import ResponseParserError
from botocore.session import Session
from pydantic_core import from_json
from urllib3.exceptions import SSLError

from reconciler import terminal
from reconciler.aws.parser import PlainParserFactory
from reconciler.model.target import DEFAULT_ACCOUNT, Target
from reconciler.network import ca_bundle

SESSION_NAME = "ivs-reconciler"
"""The role session name, as CloudTrail shows it."""

CONNECT_SECONDS = 10
READ_SECONDS = 60

_PROVIDERS_RAISE = (
    boto.BotoCoreError,
    boto.ClientError,
    ResponseParserError,
    OSError,  # a missing program or token file
    RuntimeError,  # botocore's, for renewed credentials that have already expired
    ValueError,  # the output of a program or file is not JSON, text or a date
    TypeError,  # it is JSON of another form, or a date without time zone
    AttributeError,
    LookupError,
)

_MALFORMED = {
    "access_key": "the access key ID (AWS_ACCESS_KEY_ID, or aws_access_key_id of the profile)",
    "secret_key": "the secret access key (AWS_SECRET_ACCESS_KEY, or aws_secret_access_key of the profile)",
    "token": "the session token (AWS_SESSION_TOKEN, or aws_session_token of the profile)",
}
_DIGITS = 6
_LAST_SECONDS = 5
_ASK_AGAIN_SECONDS = 30.0
"""How long a failed MFA code fails all targets of the profile: after that the device shows the next code, and the controller asks again."""

_TRUST_SECONDS = 300.0
"""How long after a renewal other threads need not wait their turn: botocore renews an SSO token 15 minutes before its end."""


class CredentialsUnavailable(boto.BotoCoreError):  # type: ignore[misc]  # botocore has no types
    """Credentials could not be found or renewed, so the call was not sent. ``cause`` is the provider's error, ``requested`` what was requested."""

    fmt = "the credentials are unavailable"

    def __init__(self, cause: Exception, requested: CredentialRequest) -> None:
        super().__init__()
        self.cause = cause
        self.requested = requested


class NoMfaCode(boto.BotoCoreError):  # type: ignore[misc]  # botocore has no types
    """No MFA code was entered."""

    fmt = "{why}"


class MalformedCredentials(boto.BotoCoreError):  # type: ignore[misc]  # botocore has no types
    """Credentials have a character that no credentials have."""

    fmt = "{what}"


class TooManyOpenFiles(boto.BotoCoreError):  # type: ignore[misc]  # botocore has no types
    """An AWS configuration file could not be opened; botocore would read it as empty, and say that the profile is missing."""

    fmt = "too many open files"


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
        # The embedded server uses the access key as the account. The machine's AWS settings, which may be invalid, are not read.
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
    """Return a client in the target's region. Without an endpoint, botocore finds it, including ``AWS_ENDPOINT_URL…``.

    Raises botocore's errors, and ``ValueError`` for a bad URL, whose text shows no password.
    """
    try:
        client = session.create_client(
            service,
            region_name=target.region,
            endpoint_url=endpoint_url,
            config=_config(target, connections, read_seconds, connect_seconds).merge(
                # Without it, botocore composes this header twice a request.
                Config(user_agent=session.user_agent())
            ),
        )
    except ValueError as error:
        raise ValueError(terminal.mask_urls(str(error))) from None
    try:
        _ = urlsplit(client.meta.endpoint_url).port
    except ValueError:
        client.close()
        raise ValueError("the endpoint URL has no valid port") from None
    return client


def _config(
    target: Target, connections: int, read_seconds: float = READ_SECONDS, connect_seconds: float = CONNECT_SECONDS
) -> Config:
    """Return the client settings: one attempt per call (the gateway retries), timeouts, few connections."""
    return Config(
        retries={"total_max_attempts": 1, "mode": "standard"},
        connect_timeout=connect_seconds,
        read_timeout=read_seconds,
        max_pool_connections=connections,
        user_agent_extra=SESSION_NAME,
        # A proxy cannot reach the loopback of this machine; None leaves the choice to the environment.
        proxies={} if target.sandbox is not None else None,
    )


def _new_session(target: Target, session_vars: dict[str, object] | None = None, profile: str | None = None) -> Session:
    session = _Session(session_vars, event_hooks=_event_hooks(), include_builtin_handlers=False, profile=profile)
    # Some credential providers open clients, which use this region.
    session.set_config_variable("region", target.region)
    if target.sandbox is None and (bundle := ca_bundle()) and not session.get_config_variable("ca_bundle"):
        session.set_config_variable("ca_bundle", bundle)
    # In each client, botocore's own looks for the former names of each event: a tenth of the CPU time of a target in sync.
    session.register_component("event_emitter", _event_hooks())
    session.register_component("data_loader", _model_loader())
    session.register_component("response_parser_factory", PlainParserFactory())
    return session


class _Session(Session):  # type: ignore[misc]  # botocore has no types
    """botocore's session; its clients share a TLS context, and all sessions share the parsed files."""

    _config: Any

    @property
    def full_config(self) -> Any:
        """Return the parsed configuration, with the profiles of both files."""
        if self._config is None:
            self._config = _configuration(
                self.get_config_variable("config_file"), self.get_config_variable("credentials_file")
            )
        return self._config

    def create_client(self, *args: Any, **options: Any) -> Any:
        """Return a client; also called by botocore's providers of credentials."""
        client = super().create_client(*args, **options)
        # botocore has no way to set the class of its HTTP session.
        client._endpoint.http_session.__class__ = _SharedTls  # noqa: SLF001
        return client


class _SharedTls(URLLib3Session):  # type: ignore[misc]  # botocore has no types
    """botocore's HTTP session; it uses the shared TLS context, where botocore reads the CA bundle for each connection."""

    def _setup_ssl_cert(self, conn: Any, url: str, verify: Any) -> None:
        super()._setup_ssl_cert(conn, url, verify)
        # A proxy that is itself reached by TLS, and client certificates, need a context of their own.
        if conn.ca_certs and self._cert_file is None and getattr(conn.proxy, "scheme", "http") == "http":
            conn.conn_kw["ssl_context"] = _tls_context(conn.ca_certs)
            conn.ca_certs = None


def _tls_context(bundle: str) -> ssl.SSLContext:
    """Return the TLS context that trusts the certificates of a file, built once for each version of the file."""
    version = _version(bundle)
    with _TLS_LOCK:
        known, context = _TLS.get(bundle, (None, None))
        if context is None or known != version:
            context = create_urllib3_context()
            try:
                context.load_verify_locations(bundle)
            except OSError as error:
                raise SSLError(error) from error
            context.set_alpn_protocols(["http/1.1"])
            # urllib3 sets them for each connection, which would replace memory that another thread's connection copies.
            context.set_alpn_protocols = lambda _: None
            _TLS[bundle] = version, context
        return context  # type: ignore[no-any-return]  # botocore has no types


def _version(path: str) -> tuple[object, ...]:
    """Return what changes when a file is written: a controller runs for months."""
    try:
        found = Path(path).stat()
    except OSError:
        return (path,)
    return path, found.st_mtime_ns, found.st_size, found.st_ino


def _configuration(config_file: str | None, credentials_file: str | None) -> Any:
    """Return the content of both AWS configuration files, as ``Session.full_config`` does."""
    key = tuple(_version(_expanded(path)) if path else () for path in (config_file, credentials_file))
    with _FILES_LOCK:
        found = _FILES.get(key)
    if found is None:
        found = {"profiles": {}}
        with contextlib.suppress(boto.ConfigNotFound):
            found = _parse_profiles(config_file)
        with contextlib.suppress(boto.ConfigNotFound):
            for name, values in _parse(credentials_file).items():
                found["profiles"].setdefault(name, {}).update(values)
        _keep(key, found)
    return found


def _parse(path: str | None) -> Any:
    """Return the sections of an AWS configuration file, parsed once for each version of the file; a profile's values must not be changed.

    Raises botocore's errors.
    """
    if not path:
        return configloader.raw_config_parse(path)
    path = _expanded(path)
    key = _version(path)
    with _FILES_LOCK:
        found = _FILES.get(key)
    if found is None:
        try:
            Path(path).open("rb").close()
        except OSError as error:
            if error.errno in (errno.EMFILE, errno.ENFILE):
                raise TooManyOpenFiles from error
        found = configloader.raw_config_parse(path)
        _keep(key, found)
    return found


def _parse_profiles(path: str | None) -> Any:
    return configloader.build_profile_map(_parse(path))


def _expanded(path: str) -> str:
    return os.path.expanduser(os.path.expandvars(path))  # noqa: PTH111 - botocore's rule: an unknown user is no error


def _keep(key: tuple[object, ...], parsed: object) -> None:
    with _FILES_LOCK:
        if len(_FILES) >= _MOST_FILES:
            _FILES.clear()
        _FILES[key] = parsed


_TLS_LOCK = threading.Lock()
_TLS: dict[str, tuple[object, Any]] = {}
_FILES_LOCK = threading.Lock()
_FILES: dict[tuple[object, ...], Any] = {}
_MOST_FILES = 16


class _ModelFiles(JSONFileLoader):  # type: ignore[misc]  # botocore has no types
    """Reads botocore's files as plain dicts: in half of the time and memory of the ``OrderedDict``s that botocore makes."""

    def _load_file(self, full_path: str, open_method: Callable[..., Any]) -> Any:
        with contextlib.suppress(FileNotFoundError), open_method(full_path, "rb") as file:
            return from_json(file.read(), cache_strings="keys")
        return None


class _ModelLoader(Loader):  # type: ignore[misc]  # botocore has no types
    """botocore's loader of service models. To load one, botocore looks for the models of all its 400 services, which takes 25 ms of CPU time."""

    FILE_LOADER_CLASS = _ModelFiles

    def list_available_services(self, type_name: str) -> Any:
        """Return what every service is in; loading one that botocore does not have raises ``DataNotFoundError``."""
        del type_name
        return _EveryService()


class _EveryService:
    def __contains__(self, name: object) -> bool:
        return True


@functools.cache
def _model_loader() -> Any:
    """Return the loader of service models, shared by all sessions because it caches them."""
    paths = os.environ.get("AWS_DATA_PATH", "").split(os.pathsep)
    return _ModelLoader(extra_search_paths=[_expanded(path) for path in paths if path])


@functools.cache
def _event_hooks() -> Any:
    """Return botocore's event handlers, shared by all sessions; each client copies them. Registering them was a third of the CPU time of a plan in sync.

    Without the handlers that write botocore's documentation, a copy takes a third of the time.
    """
    hooks = HierarchicalEmitter()
    events = EventAliaser(hooks)
    register = {REGISTER_FIRST: events.register_first, REGISTER_LAST: events.register_last}
    for name, handler, *order in BUILTIN_HANDLERS:
        if not name.startswith("docs."):
            register.get(order[0] if order else None, events.register)(name, handler)
    return hooks


def _assume_role(source: Any, target: Target, endpoint_url: str | None) -> Any:
    """Return self-renewing credentials of the target's role, assumed with the source session."""
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
    """A botocore credential provider with fixed credentials."""

    def __init__(self, credentials: object) -> None:
        self._credentials = credentials

    def load_credentials(self) -> object:
        """Return the credentials."""
        return self._credentials


class _CredentialWrapper:
    """Wraps botocore credentials; a subclass overrides some of their methods."""

    def __init__(self, credentials: Any) -> None:
        self._credentials = credentials

    def __getattr__(self, name: str) -> Any:
        return getattr(self._credentials, name)


class _Guarded(_CredentialWrapper):
    """Credentials whose renewal raises only ``CredentialsUnavailable``."""

    def __init__(self, credentials: Any, requested: CredentialRequest) -> None:
        super().__init__(credentials)
        self._credential_request = requested

    def get_frozen_credentials(self) -> Any:
        """Return valid credentials, renewed if necessary; botocore signs with these. Raises ``CredentialsUnavailable``."""
        frozen = _guard(self._credentials.get_frozen_credentials, self._credential_request)
        for name in ("access_key", "secret_key", "token"):
            value = getattr(frozen, name) or ""
            if not (value.isascii() and value.isprintable()) or " " in value:
                raise CredentialsUnavailable(MalformedCredentials(what=_MALFORMED[name]), self._credential_request)
        return frozen


class _GuardedProviders:
    """botocore's chain of credential providers, with its errors turned into ``CredentialsUnavailable``."""

    def __init__(self, chain: Any, session: Any) -> None:
        self._chain = chain
        self._session = session

    def load_credentials(self) -> Any:
        """Return the credentials of the first provider with any, or ``None``."""
        requested = _credential_request(self._session)
        if requested.mfa:
            # botocore has no public way to set a prompt; ours waits for the progress display and has a time limit.
            self._chain.get_provider("assume-role")._prompter = _ask_for_code  # noqa: SLF001
        # Nor one to set these, which parse the whole file for each target.
        self._chain.get_provider("shared-credentials-file")._ini_parser = _parse  # noqa: SLF001
        self._chain.get_provider("config-file")._config_parser = _parse_profiles  # noqa: SLF001
        credentials = _guard(self._chain.load_credentials, requested)
        if credentials is None:
            return None
        of_a_role = "assume-role" in str(credentials.method)
        found: Any = _Guarded(credentials, requested if of_a_role else requested._replace(role=""))
        if requested.session and credentials.method in ("sso", "assume-role"):
            found = _SerialRenewal(found, requested.session)
        if requested.mfa and credentials.method == "assume-role":
            # Renewal needs a person, so use them until they expire instead of until ten minutes before.
            credentials._advisory_refresh_timeout = credentials._mandatory_refresh_timeout = _LAST_SECONDS  # noqa: SLF001
            found = _share_credentials(found, str(self._session.profile), requested)
        return found


def _credential_request(session: Any) -> CredentialRequest:
    """Return what the profile and its source profiles request; empty for an unreadable profile, which its provider reports."""
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


def _guard(get: Callable[[], Any], requested: CredentialRequest) -> Any:
    try:
        return get()
    except (CredentialsUnavailable, boto.NoCredentialsError):
        raise
    except _PROVIDERS_RAISE as error:
        raise CredentialsUnavailable(error, requested) from None


def _ask_for_code(question: str) -> str:
    try:
        return terminal.ask_for_digits("".join(char for char in question if char.isprintable()), _DIGITS)
    except terminal.NoAnswer as error:
        raise NoMfaCode(why=str(error)) from None


def _share_credentials(credentials: Any, profile: str, requested: CredentialRequest) -> Any:
    """Return the shared credentials of a profile: those of an earlier session, or these."""
    with _LOCK:
        found = _SHARED.get(profile)
        if found is None or found.is_spent():
            found = _SHARED[profile] = _SharedCredentials(credentials, requested)
        return found


class _SharedCredentials(_CredentialWrapper):
    """Credentials that need an MFA code. A failure holds for all sessions that share them, so a code is not asked for per target."""

    def __init__(self, credentials: Any, requested: CredentialRequest) -> None:
        super().__init__(credentials)
        self._credential_request = requested
        self._turn = threading.Lock()
        self._failure: Exception | None = None
        self._failed_at = 0.0

    def get_frozen_credentials(self) -> Any:
        """Return valid credentials. Raises ``CredentialsUnavailable``."""
        with self._turn:
            if self._failure is not None:
                raise CredentialsUnavailable(self._failure, self._credential_request)
            try:
                return self._credentials.get_frozen_credentials()
            except CredentialsUnavailable as error:
                self._failure, self._failed_at = error.cause, time.monotonic()
                raise

    def is_spent(self) -> bool:
        """Return whether they failed long enough ago to ask again."""
        return self._failure is not None and time.monotonic() > self._failed_at + _ASK_AGAIN_SECONDS


class _SerialRenewal(_CredentialWrapper):
    """Credentials of an SSO session, renewed by one thread at a time."""

    def __init__(self, credentials: Any, session: str) -> None:
        super().__init__(credentials)
        self._session = session

    def get_frozen_credentials(self) -> Any:
        """Return valid credentials."""
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
