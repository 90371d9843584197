from __future__ import annotations

from typing import Any

import pytest
from botocore import exceptions as boto

from reconciler.aws.errors import mask_tokens, to_aws_error
from reconciler.aws.session import CredentialRequest, CredentialsUnavailable


def refused(code: str, status: int, message: str = "", operation: str = "GetChannel", **more: Any) -> boto.ClientError:
    return boto.ClientError(
        {
            "Error": {"Code": code, "Message": message},
            "ResponseMetadata": {"HTTPStatusCode": status, "RequestId": "r-9"},
            **more,
        },
        operation,
    )


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        (boto.NoCredentialsError(), "NoCredentials", "set AWS_ACCESS_KEY_ID"),
        (
            boto.PartialCredentialsError(provider="env", cred_var="AWS_SECRET_ACCESS_KEY"),
            "PartialCredentials",
            "a key has two parts",
        ),
        (boto.ProfileNotFound(profile="nope"), "Configuration", "check profile"),
        (boto.UnauthorizedSSOTokenError(), "Credentials", "aws sso login"),
        (boto.CredentialRetrievalError(provider="process", error_msg="no luck"), "Credentials", "sign in again"),
        (boto.SSLError(endpoint_url="https://x", error="bad cert"), "SSLError", "AWS_CA_BUNDLE"),
        (boto.UnknownServiceError(service_name="ivs", known_service_names="s3"), "UnknownService", "install botocore"),
        (boto.NoRegionError(), "NoRegionError", "region"),
    ],
)
def test_what_is_hopeless_says_what_to_do_and_is_not_tried_again(error: Exception, code: str, said: str) -> None:
    translated = to_aws_error(error, "CreateChannel", writes=True)
    assert (translated.code, translated.retryable, translated.ambiguous) == (code, False, False)
    assert said in str(translated)


@pytest.mark.parametrize(
    ("error", "code", "ambiguous"),
    [
        (boto.ReadTimeoutError(endpoint_url="https://x"), "ReadTimeout", True),
        (boto.ConnectionClosedError(endpoint_url="https://x"), "ConnectionClosed", True),
        (boto.HTTPClientError(error="boom"), "ConnectionClosed", True),
        (boto.ConnectTimeoutError(endpoint_url="https://x/tags/secret"), "ConnectTimeout", False),
        (boto.EndpointConnectionError(endpoint_url="https://x/tags/secret"), "EndpointConnectionError", False),
        (boto.ProxyConnectionError(proxy_url="http://user:secret@proxy"), "ProxyConnectionError", False),
    ],
)
def test_only_what_may_have_arrived_is_ambiguous(error: Exception, code: str, ambiguous: bool) -> None:
    translated = to_aws_error(error, "CreateChannel", writes=True)
    assert (translated.code, translated.retryable, translated.ambiguous) == (code, True, ambiguous)
    assert not to_aws_error(error, "ListChannels", writes=False).ambiguous
    assert "secret" not in str(translated)


@pytest.mark.parametrize(
    "code", ["ExpiredTokenException", "UnrecognizedClientException", "InvalidClientTokenId", "SignatureDoesNotMatch"]
)
def test_refused_credentials_say_how_to_get_good_ones(code: str) -> None:
    translated = to_aws_error(refused(code, 403, "The security token is expired"), "ListChannels", writes=False)
    assert "sign in again" in str(translated)
    assert "The security token is expired" in str(translated)
    assert (translated.code, translated.request_id, translated.retryable) == (code, "r-9", False)


def test_a_role_that_cannot_be_assumed_and_the_call_that_needs_it_are_different_errors() -> None:
    cause = refused("AccessDenied", 403, "not authorized to perform: sts:AssumeRole", "AssumeRole")
    translated = to_aws_error(
        CredentialsUnavailable(cause, CredentialRequest(role="arn:aws:iam::111122223333:role/deployer")),
        "CreateChannel",
        writes=True,
    )
    assert "check roleArn and externalId" in str(translated)
    assert "role/deployer" in str(translated)
    assert (translated.operation, translated.code, translated.ambiguous, translated.retryable) == (
        "CreateChannel",
        "Credentials",
        False,
        False,
    )


@pytest.mark.parametrize(
    "cause",
    [
        refused("InternalFailure", 503, "busy", "AssumeRole"),
        refused("Throttling", 400, "slow", "AssumeRole"),
        boto.ReadTimeoutError(endpoint_url="x"),
    ],
)
def test_a_write_whose_credentials_did_not_come_was_not_sent_and_may_be_sent_later(cause: Exception) -> None:
    translated = to_aws_error(CredentialsUnavailable(cause, CredentialRequest()), "CreateChannel", writes=True)
    assert (translated.ambiguous, translated.retryable) == (False, True)
    assert not translated.throttled


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("+ echo wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY", "+ echo ***"),
        (
            "see https://studio.awsapps.com/start and /srv/studio/configuration/aws/credentials",
            "see https://studio.awsapps.com/start and /srv/studio/configuration/aws/credentials",
        ),
    ],
)
def test_what_looks_like_a_key_is_masked_and_places_are_not(text: str, shown: str) -> None:
    assert mask_tokens(text) == shown


def test_aws_text_is_kept_as_it_is() -> None:
    assert (
        str(to_aws_error(refused("ConflictException", 409, "channel is live"), "UpdateChannel", writes=True))
        == "channel is live"
    )


def test_a_refusal_without_text_names_the_permission() -> None:
    assert "ivs:ListAdConfigurations" in str(
        to_aws_error(refused("AccessDeniedException", 403, operation="ListAdConfigurations"), "x", writes=False)
    )


def test_endless_texts_are_cut() -> None:
    assert (
        len(str(to_aws_error(refused("ValidationException", 400, "x" * 50_000), "UpdateChannel", writes=True))) < 1100
    )


def test_an_answer_without_any_detail_still_has_a_message() -> None:
    translated = to_aws_error(boto.ClientError({}, "GetChannel"), "GetChannel", writes=False)
    assert str(translated)
    assert translated.code == "Unknown"
