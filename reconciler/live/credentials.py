"""Guards a session's credentials: whatever goes wrong while they are found or renewed becomes one kind of error.

boto3 gets credentials while it signs, in the middle of any call, and its providers run programs, read files and ask other services.
So they raise far more than botocore's own errors, and a write that failed with one of those would look as if it might have been sent.
Here both is mended: the error is botocore's in kind, and it says that nothing was sent.
Credentials that involve a person (the code of an MFA device, a sign-on) are looked after by ``live/person.py``.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

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
)


class CredentialsUnavailable(boto.BotoCoreError):  # type: ignore[misc]  # botocore has no types
    """Credentials could not be found or renewed, so the call that needed them was never sent. ``cause`` is what a provider raised, ``wanted`` what they were to be."""

    fmt = "the credentials are unavailable"

    def __init__(self, cause: Exception, wanted: Wanted) -> None:
        super().__init__()
        self.cause = cause
        self.wanted = wanted


class NoCode(boto.BotoCoreError):  # type: ignore[misc]  # botocore has no types
    """The code of an MFA device was asked for and not given."""

    fmt = "{why}"


class Wanted(NamedTuple):
    """What credentials are to be, as the profile or the environment says.

    ``role`` is theirs, ``mfa`` the device whose code it takes; ``sign_on`` is the profile to sign in with, and ``session`` what it signs in to.
    """

    role: str = ""
    mfa: str = ""
    sign_on: str = ""
    session: str = ""


class Around:
    """Credentials as botocore takes them, around others: everything is theirs but what a subclass does in its own way."""

    def __init__(self, credentials: Any) -> None:
        self._credentials = credentials

    def __getattr__(self, name: str) -> Any:
        return getattr(self._credentials, name)


class Guarded(Around):
    """Credentials of botocore whose renewal raises ``CredentialsUnavailable`` alone."""

    def __init__(self, credentials: Any, wanted: Wanted) -> None:
        super().__init__(credentials)
        self._wanted = wanted

    def get_frozen_credentials(self) -> Any:
        """Return credentials that are good now, renewed if need be; botocore signs with these."""
        return _guarded(self._credentials.get_frozen_credentials, self._wanted)


class GuardedProviders:
    """botocore's chain of credential providers, as a botocore session asks for one, guarded."""

    def __init__(self, chain: Any, session: Any) -> None:
        self._chain = chain
        self._session = session

    def load_credentials(self) -> Any:
        """Return the credentials of the first provider that has some, or ``None``."""
        wanted = _wanted(self._session)
        if wanted.mfa:
            from reconciler.live.person import ask_as_we_do

            ask_as_we_do(self._chain)
        credentials = _guarded(self._chain.load_credentials, wanted)
        if credentials is None:
            return None
        of_a_role = "assume-role" in str(credentials.method)
        found: Any = Guarded(credentials, wanted if of_a_role else wanted._replace(role=""))
        if wanted.session and credentials.method in ("sso", "assume-role"):
            from reconciler.live.person import InTurn

            found = InTurn(found, wanted.session)
        if wanted.mfa and credentials.method == "assume-role":
            from reconciler.live.person import asked_once, use_to_the_end

            use_to_the_end(credentials)
            found = asked_once(found, str(self._session.profile), wanted)
        return found


def guard(session: Any) -> None:
    """Guard the providers of a botocore session; its region must be set by then, since some of them open clients there."""
    chain = _guarded(lambda: session.get_component("credential_provider"), Wanted())
    session.register_component("credential_provider", GuardedProviders(chain, session))


def _wanted(session: Any) -> Wanted:
    """Return what the profile asks for, its source profiles included; a profile that cannot be read is its provider's to complain of."""
    try:
        profiles: Mapping[str, Mapping[str, object]] = session.full_config.get("profiles", {})
        name = str(session.profile or "default")
    except boto.BotoCoreError:
        return Wanted()
    role = str(profiles.get(name, {}).get("role_arn") or os.environ.get("AWS_ROLE_ARN") or "")
    mfa, seen = "", set[str]()
    while name not in seen:
        seen.add(name)
        profile = profiles.get(name, {})
        if "role_arn" not in profile:
            session_name = str(profile.get("sso_session") or profile.get("sso_start_url") or "")
            return Wanted(role, mfa, name if session_name else "", session_name)
        mfa = mfa or str(profile.get("mfa_serial") or "")
        name = str(profile.get("source_profile") or "")
    return Wanted(role, mfa)


def _guarded(get: Callable[[], Any], wanted: Wanted) -> Any:
    try:
        return get()
    except (CredentialsUnavailable, boto.NoCredentialsError):
        raise
    except _PROVIDERS_RAISE as error:
        raise CredentialsUnavailable(error, wanted) from None
