"""boto3 sessions and clients: whose credentials, which endpoint, which limits.

One session for each set of credentials; the service models are loaded once for all of them.
boto3 and botocore are imported only when a session is opened, because that takes a seventh of a plan of 5,000 channels.
"""

from __future__ import annotations

import functools
import os
from typing import TYPE_CHECKING, Any

from reconciler.model.target import DEFAULT_ACCOUNT, Target

if TYPE_CHECKING:
    import boto3

SESSION_NAME = "ivs-reconciler"
"""The role session name that CloudTrail shows."""

CONNECT_SECONDS = 10
READ_SECONDS = 60


def open_session(target: Target, endpoint_url: str | None) -> boto3.Session:
    """Return the session that holds the target's credentials. Raises botocore's errors."""
    import boto3

    if target.sandbox is not None:
        # The embedded server takes the account for the access key; the machine's AWS settings have no part in it, not even broken ones.
        session = _botocore_session({"profile": (None, None, None, None), **_no_files()})
        session.set_credentials(target.account_id or DEFAULT_ACCOUNT, "sandbox")
    else:
        session = _guarded_session(target)
        if target.role_arn is not None:
            credentials = _assumed(session, target, endpoint_url)
            session = _botocore_session(profile=target.profile)
            session.register_component("credential_provider", _Given(credentials))
    return boto3.Session(botocore_session=session, region_name=target.region)


def open_client(
    session: boto3.Session,
    service: str,
    target: Target,
    endpoint_url: str | None,
    connections: int,
    *,
    read_seconds: float = READ_SECONDS,
    connect_seconds: float = CONNECT_SECONDS,
) -> Any:
    """Return a client of the target's region. Without an endpoint boto3 finds it, ``AWS_ENDPOINT_URL…`` included.

    Raises botocore's errors, and ``ValueError`` for a bad URL.
    """
    return session.client(
        service,
        region_name=target.region,
        endpoint_url=endpoint_url,
        config=_config(target, connections, read_seconds, connect_seconds),
    )


def _config(
    target: Target, connections: int, read_seconds: float = READ_SECONDS, connect_seconds: float = CONNECT_SECONDS
) -> Any:  # botocore has no types
    """Return the limits of every client: one attempt each (repeating is the gateway's), our timeouts, few connections."""
    from botocore.config import Config

    return Config(
        retries={"total_max_attempts": 1, "mode": "standard"},
        connect_timeout=connect_seconds,
        read_timeout=read_seconds,
        max_pool_connections=connections,
        user_agent_extra=SESSION_NAME,
        # A proxy would not find this machine's loopback; None leaves the choice to the environment.
        proxies={} if target.sandbox is not None else None,
    )


def _botocore_session(session_vars: dict[str, object] | None = None, profile: str | None = None) -> Any:
    import botocore.session

    from reconciler.live.parser import PlainParserFactory

    session = botocore.session.Session(session_vars=session_vars, profile=profile)
    session.register_component("data_loader", _models())
    session.register_component("response_parser_factory", PlainParserFactory())
    return session


def _guarded_session(target: Target) -> Any:
    """Return a session whose credentials come from whatever boto3 finds; providers that ask STS do it in the target's region."""
    from reconciler.live.credentials import guard

    session = _botocore_session(profile=target.profile)
    session.set_config_variable("region", target.region)
    guard(session)
    return session


@functools.cache
def _models() -> Any:
    """Return the loader of service models; it keeps what it read, which is the same for every session."""
    from reconciler.live.models import service_models

    return service_models()


def _no_files() -> dict[str, object]:
    return dict.fromkeys(("config_file", "credentials_file"), (None, None, os.devnull, None))


def _assumed(source: Any, target: Target, endpoint_url: str | None) -> Any:
    """Return credentials of the target's role that renew themselves, got with the source session's."""
    from botocore.credentials import AssumeRoleCredentialFetcher, DeferredRefreshableCredentials
    from botocore.exceptions import NoCredentialsError

    from reconciler.live.credentials import Guarded, Wanted

    source_credentials = source.get_credentials()
    if source_credentials is None:
        raise NoCredentialsError
    create = functools.partial(
        source.create_client, region_name=target.region, endpoint_url=endpoint_url, config=_config(target, 1)
    )
    extra = {
        "RoleSessionName": SESSION_NAME,
        **({"ExternalId": target.external_id} if target.external_id is not None else {}),
    }
    fetcher = AssumeRoleCredentialFetcher(create, source_credentials, target.role_arn, extra_args=extra)
    return Guarded(
        DeferredRefreshableCredentials(refresh_using=fetcher.fetch_credentials, method="assume-role"),
        Wanted(role=str(target.role_arn)),
    )


class _Given:
    """A credential provider, as a botocore session asks for one, that has its credentials already."""

    def __init__(self, credentials: object) -> None:
        self._credentials = credentials

    def load_credentials(self) -> object:
        """Return them."""
        return self._credentials
