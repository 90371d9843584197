"""Turns botocore's exceptions into ``AwsError``: the failed operation, AWS's message, and what to do.

botocore's exceptions may hold the request, so only text is kept, and callers raise the result ``from None``.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping
from enum import Enum
from typing import NamedTuple

from botocore import exceptions as boto
from botocore.parsers import ResponseParserError

from reconciler.aws.denials import CREDENTIAL_CODES, DENIED_CODES
from reconciler.aws.session import (
    CredentialRequest,
    CredentialsUnavailable,
    MalformedCredentials,
    NoMfaCode,
    TooManyOpenFiles,
)
from reconciler.errors import THROTTLES, UNREADABLE, AwsError
from reconciler.model.kinds import SERVICES
from reconciler.network import is_out_of_descriptors, out_of_descriptors, proxy_refusal
from reconciler.terminal import mask_stream_keys, mask_urls, sanitize, shortened

BOTO_ERRORS = (boto.BotoCoreError, boto.ClientError, ResponseParserError, RecursionError)
"""Everything that botocore raises for a failed call; its parsers call themselves for each level of an answer."""

_NAMES = {"secretsmanager": "Secrets Manager", "ssm": "Parameter Store"} | {
    service.prefix: service.title for service in SERVICES.values()
}
_SLOW_ANSWER = frozenset({"RequestTimeout", "RequestTimeoutException"})
_MAX_TEXT = 1000
_MAX_CODE = 80
_CODE = re.compile(r"(?:[A-Z][A-Za-z]*\.)*[A-Z][A-Za-z]{2,60}|[0-9]{3}")
_TOKEN = re.compile(r"[A-Za-z0-9+/=_.-]{32,}")
_NO_CREDENTIALS = (
    "no AWS credentials found; set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, "
    "or set a profile in the target (profile: …) or in AWS_PROFILE"
)
_CLOCK = "correct this machine's clock (AWS accepts a signature for five minutes) and run again"
_UNOBTAINED = "cannot obtain AWS credentials"
_SIGN_ON_ERRORS = (boto.SSOError, boto.TokenRetrievalError)
_SIGN_IN = "sign in again (aws sso login, or renew the keys in the environment or the profile) and run again"


def to_aws_error(error: Exception, operation: str, *, writes: bool, service: str = "ivs") -> AwsError:
    """Return an ``AwsError`` for a botocore error. It is ``ambiguous`` if a call that ``writes`` may have been executed.

    ``service`` is the IAM prefix of the service called.
    """
    if isinstance(error, TooManyOpenFiles) or is_out_of_descriptors(error):
        # Opening a socket or a file failed, so nothing was sent.
        return AwsError(f"{operation}: {out_of_descriptors()}", operation=operation, code="TooManyOpenFiles")
    if isinstance(error, CredentialsUnavailable):
        return _from_provider(error, operation)
    if isinstance(error, boto.ClientError):
        return _from_answer(error, operation, writes=writes, service=service)
    return _from_transport(error, operation, writes=writes, service=service)


def _from_provider(error: CredentialsUnavailable, operation: str) -> AwsError:
    """Return the error of unavailable credentials; the operation was not sent.

    AWS's code goes into the text only: a denied or throttled AssumeRole does not concern the operation.
    """
    cause, retryable, code = error.cause, False, "Credentials"
    if isinstance(cause, boto.ClientError):
        said = _from_answer(cause, operation, writes=False)
        message, retryable = _refused(said, error.requested), said.retryable
        code = said.code if message == str(said) else code
    elif isinstance(cause, _SIGN_ON_ERRORS):
        message = f"{_UNOBTAINED}: {_text(cause)}; {_sign_in(error.requested)}"
    elif isinstance(cause, boto.RefreshWithMFAUnsupportedError):
        message = (
            f"the session of the MFA device {error.requested.mfa} has ended, and a run prompts for a code only once; "
            "run again with a new code, or raise duration_seconds in the profile (at most the role's maximum)"
        )
    elif isinstance(cause, NoMfaCode):
        message = (
            f"role {error.requested.role} requires a code of the MFA device {error.requested.mfa}, but {_text(cause)}; "
            "run it on a terminal, or use a profile that requires no code, such as one with a credential_process"
        )
    elif isinstance(cause, MalformedCredentials):
        message = f"{_text(cause)} contains a line end, a space or another character that it cannot have; set it again without that character"
    elif isinstance(cause, boto.BotoCoreError | ResponseParserError):
        below = _from_transport(cause, "the request for AWS credentials", writes=False)
        message, code, retryable = mask_tokens(str(below)), below.code, below.retryable
    elif isinstance(cause, OSError):
        named = f"{cause.filename}: " if cause.filename else ""
        message = f"{_UNOBTAINED}: {named}{(cause.strerror or type(cause).__name__).lower()}; check credential_process, the token file and the profile"
    elif isinstance(cause, RuntimeError):
        message = f"the renewed AWS credentials have already expired; correct this machine's clock, or {_sign_in(error.requested)}"
    else:
        # The text of the error may quote a secret.
        message = (
            f"{_UNOBTAINED}: cannot parse the output of a credential_process or a token file ({type(cause).__name__}); "
            "see the AWS guide for its format; Expiration needs a time zone"
        )
    return AwsError(message, operation=operation, code=code, retryable=retryable)


def _refused(said: AwsError, requested: CredentialRequest) -> str:
    """Return the message for a refused request for credentials."""
    quoted = _said(said.code, str(said))
    if said.operation == "AssumeRoleWithWebIdentity":
        return (
            f"cannot assume role {requested.role or 'of the web identity'} with the web identity token ({quoted}); "
            "renew the token file (AWS_WEB_IDENTITY_TOKEN_FILE or web_identity_token_file), and check that the role's trust policy names its provider"
        )
    if said.code in CREDENTIAL_CODES:
        return str(said)
    if said.retryable:
        return f"{_UNOBTAINED}: {said.operation} answered {quoted}; run again later"
    if said.operation == "AssumeRole" and requested.mfa and "MultiFactorAuthentication" in str(said):
        return f"the code of the MFA device {requested.mfa} was rejected ({quoted}); run again with its next code, and check mfa_serial and its clock"
    if said.operation == "AssumeRole":
        return (
            f"cannot assume role {requested.role or 'of the profile'} ({quoted}); "
            "check roleArn and externalId (role_arn and external_id in a profile), and that the role's trust policy names the caller"
        )
    if said.operation == "GetRoleCredentials":
        profile = f"profile {requested.sign_on}" if requested.sign_on else "the profile"
        return f"SSO issued no credentials for {profile} ({quoted}); check sso_account_id and sso_role_name, and that you are assigned to that role"
    return f"{_UNOBTAINED}: {said.operation} answered {quoted}; {_sign_in(requested)}"


def _sign_in(requested: CredentialRequest) -> str:
    if not requested.sign_on:
        return _SIGN_IN
    profile = "" if requested.sign_on == "default" else f" --profile {shlex.quote(requested.sign_on)}"
    return f"sign in again (aws sso login{profile}) and run again"


def _from_answer(error: boto.ClientError, operation: str, *, writes: bool, service: str = "ivs") -> AwsError:
    response: Mapping[str, object] = error.response
    details = _mapping(response.get("Error"))
    metadata = _mapping(response.get("ResponseMetadata"))
    status = _int(metadata.get("HTTPStatusCode"))
    code = _code(str(details.get("Code") or "")) or (f"HTTP{status}" if status else "Unknown")
    request_id = mask_stream_keys(sanitize(str(metadata.get("RequestId") or "")))
    # The service model calls the message exceptionMessage; botocore looks for message alone.
    text = _shorten(str(details.get("Message") or response.get("exceptionMessage") or ""))
    if code.isdigit():
        # An error page of a proxy, not of the service; botocore puts the phrase of the status there.
        code, text = f"HTTP{code}", ""
    called = str(getattr(error, "operation_name", "") or operation)
    throttled = status == 429 or code in THROTTLES
    failed = status >= 500 or code in _SLOW_ANSWER
    known = status != 501  # "not implemented" does not change
    if code in CREDENTIAL_CODES:
        message = f"AWS rejected the credentials for {called} ({_said(code, text)}); {_CLOCK if _is_skew(code, text) else _SIGN_IN}"
    elif throttled:
        message = f"{called}: throttled by AWS ({_said(code, text)})"
    elif text:
        message = text
    elif code in DENIED_CODES:
        message = f"the caller is not authorized to perform {service}:{called}"
    else:
        message = f"AWS answered {called} with HTTP status {status} and no message"
    return AwsError(
        message,
        operation=called,
        code=code,
        status=status,
        request_id=request_id,
        retryable=throttled or (failed and known),
        ambiguous=writes and failed and known and not throttled,
        service=service,
    )


def _from_transport(error: Exception, operation: str, *, writes: bool, service: str = "ivs") -> AwsError:
    row = next((row for row in _TRANSPORT_ERRORS if isinstance(error, row.types)), None)
    if row is None:
        return AwsError(f"{operation}: {_text(error)}", operation=operation, code=type(error).__name__)
    return AwsError(
        row.message.format(
            operation=operation,
            text=_text(error),
            endpoint=_endpoint(error),
            service=_NAMES.get(service, service),
            proxy=f"refused the connection ({refusal})" if (refusal := proxy_refusal(error)) else "cannot be reached",
        ),
        operation=operation,
        code=row.code,
        retryable=row.fate is not _Sent.HOPELESS,
        ambiguous=writes and row.fate is _Sent.UNKNOWN,
    )


class _Sent(Enum):
    """Whether a request without an answer was executed."""

    HOPELESS = "not sent, a retry would fail too"
    UNSENT = "not sent, a retry may succeed"
    UNKNOWN = "possibly carried out"


class _TransportError(NamedTuple):
    """A failure below HTTP: botocore's exceptions, our code and message."""

    types: tuple[type[Exception], ...]
    code: str
    message: str
    fate: _Sent = _Sent.HOPELESS


# The first match counts, so special cases come first.
_TRANSPORT_ERRORS = (
    _TransportError((boto.NoCredentialsError,), "NoCredentials", _NO_CREDENTIALS),
    _TransportError(
        (boto.PartialCredentialsError,),
        "PartialCredentials",
        "the AWS credentials are incomplete: {text}; a key has two parts, and a role_arn in a profile needs a source_profile or a credential_source",
    ),
    _TransportError(
        (boto.ProfileNotFound, boto.ConfigNotFound, boto.ConfigParseError, boto.InvalidConfigError),
        "Configuration",
        "the AWS configuration cannot be used: {text}; check profile, AWS_PROFILE and ~/.aws/config, or the file that AWS_CONFIG_FILE names",
    ),
    _TransportError(
        (
            *_SIGN_ON_ERRORS,
            boto.LoginError,
            boto.NoAuthTokenError,
            boto.CredentialRetrievalError,
            boto.UnknownCredentialError,
            boto.MetadataRetrievalError,
        ),
        "Credentials",
        "cannot obtain AWS credentials: {text}; " + _SIGN_IN,
    ),
    _TransportError(
        (boto.ReadTimeoutError,), "ReadTimeout", "{operation}: no answer within the time limit", _Sent.UNKNOWN
    ),
    _TransportError(
        (boto.ConnectTimeoutError,),
        "ConnectTimeout",
        "{operation}: connecting to {endpoint} timed out; check the network and proxy settings",
        _Sent.UNSENT,
    ),
    _TransportError(
        (boto.SSLError,),
        "SSLError",
        "{operation}: TLS failed: {text}; check the clock, the CA certificates (AWS_CA_BUNDLE) and the endpoint",
    ),
    _TransportError(
        (boto.ProxyConnectionError,),
        "ProxyConnectionError",
        "{operation}: the proxy {proxy}; check HTTPS_PROXY and NO_PROXY",
        _Sent.UNSENT,
    ),
    _TransportError(
        (boto.EndpointConnectionError,),
        "EndpointConnectionError",
        "{operation}: cannot connect to {endpoint}; check the network, the region and the endpoint",
        _Sent.UNSENT,
    ),
    _TransportError((boto.ConnectionError,), "ConnectionError", "{operation}: no connection: {text}", _Sent.UNKNOWN),
    _TransportError(
        (boto.HTTPClientError,),
        "ConnectionClosed",
        "{operation}: the connection closed before the answer arrived",
        _Sent.UNKNOWN,
    ),
    _TransportError(
        (ResponseParserError, RecursionError),
        UNREADABLE,
        "{operation}: {text}; check that the endpoint is that of {service}",
        _Sent.UNKNOWN,
    ),
    _TransportError(
        (boto.ParamValidationError,), "ParamValidation", "{operation}: botocore rejects the parameters: {text}"
    ),
    _TransportError(
        (boto.DataNotFoundError,),
        "UnknownService",
        "the installed botocore has no model of IVS; install botocore 1.44.5 or newer",
    ),
)


def _is_skew(code: str, text: str) -> bool:
    """Return whether the error is about the time in a signature (wording as in the API references of STS and others)."""
    return code == "RequestExpired" or "Signature expired" in text or "Signature not yet current" in text


def mask_tokens(text: str) -> str:
    """Return the text with possible keys and tokens masked: a credential program may print them in its errors."""
    return _TOKEN.sub(
        lambda found: "***" if all(re.search(kind, found[0]) for kind in ("[a-z]", "[A-Z]", "[0-9]")) else found[0],
        text,
    )


def _code(text: str) -> str:
    """Return an error code; one that does not look like AWS's may hold anything, a secret included, and is masked and cut."""
    text = sanitize(text)
    if _CODE.fullmatch(text):
        return text
    return shortened(mask_tokens(mask_stream_keys(text)), _MAX_CODE)


def _said(code: str, text: str) -> str:
    return f"{code}: {text}" if text else code


def _text(error: Exception) -> str:
    text = _shorten(str(error).strip().rstrip("."))
    return f"{text}:{_line_of(error)}" if isinstance(error, boto.ConfigParseError) and _line_of(error) else text


def _line_of(error: boto.ConfigParseError) -> int:
    """Return the line of a syntax error in a configuration file, or 0. The line's text is not shown, because it may hold a key."""
    cause = error.kwargs.get("error")
    found = getattr(cause, "errors", None)
    return _int(found[0][0] if found else getattr(cause, "lineno", 0))


def _shorten(text: str) -> str:
    return shortened(mask_urls(mask_stream_keys(sanitize(text))), _MAX_TEXT)


def _endpoint(error: Exception) -> str:
    # Only scheme and host: a query may hold a presigned secret.
    url = str(getattr(error, "kwargs", {}).get("endpoint_url") or "the endpoint")
    return "/".join(mask_urls(url).split("/")[:3])


def _mapping(value: object) -> Mapping[str, object]:
    return value if isinstance(value, Mapping) else {}


def _int(value: object) -> int:
    return value if isinstance(value, int) else 0
