"""Guards a session's credentials: whatever goes wrong while they are found or renewed becomes one kind of error.

boto3 gets credentials while it signs, in the middle of any call, and its providers run programs, read files and ask other services.
So they raise far more than botocore's own errors, and a write that failed with one of those would look as if it might have been sent.
Here both is mended: the error is botocore's in kind, and it says that nothing was sent.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from typing import Any

from botocore import exceptions as boto
from botocore.parsers import ResponseParserError

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
    EOFError,  # nobody there to type the code of an MFA device
)


class CredentialsUnavailable(boto.BotoCoreError):  # type: ignore[misc]  # botocore has no types
    """Credentials could not be found or renewed, so the call that needed them was never sent. ``cause`` is what a provider raised, ``role`` whose credentials were wanted."""

    fmt = "the credentials are unavailable"

    def __init__(self, cause: Exception, role: str = "") -> None:
        super().__init__()
        self.cause = cause
        self.role = role


class Guarded:
    """Credentials of botocore whose renewal raises ``CredentialsUnavailable`` alone."""

    def __init__(self, credentials: Any, role: str = "") -> None:
        self._credentials = credentials
        self._role = role

    def get_frozen_credentials(self) -> Any:
        """Return credentials that are good now, renewed if need be; botocore signs with these."""
        return _guarded(self._credentials.get_frozen_credentials, self._role)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._credentials, name)


class GuardedProviders:
    """botocore's chain of credential providers, as a botocore session asks for one, guarded. ``role`` names the role that a profile or the environment wants."""

    def __init__(self, chain: Any, role: Callable[[], str]) -> None:
        self._chain = chain
        self._role = role

    def load_credentials(self) -> Any:
        """Return the credentials of the first provider that has some, or ``None``."""
        role = self._role()
        credentials = _guarded(self._chain.load_credentials, role)
        return None if credentials is None else Guarded(credentials, role if "assume-role" in str(credentials.method) else "")


def guard(session: Any) -> None:
    """Guard the providers of a botocore session; its region must be set by then, since some of them open clients there."""
    chain = _guarded(lambda: session.get_component("credential_provider"), "")
    session.register_component("credential_provider", GuardedProviders(chain, lambda: _role_of(session)))


def _role_of(session: Any) -> str:
    """Return the role that the profile names, else the environment; a profile that cannot be read is its provider's to complain of."""
    try:
        profile: Mapping[str, object] = session.get_scoped_config()
    except boto.BotoCoreError:
        return ""
    return str(profile.get("role_arn") or os.environ.get("AWS_ROLE_ARN") or "")


def _guarded(get: Callable[[], Any], role: str) -> Any:
    try:
        return get()
    except (CredentialsUnavailable, boto.NoCredentialsError):
        raise
    except _PROVIDERS_RAISE as error:
        raise CredentialsUnavailable(error, role) from None
