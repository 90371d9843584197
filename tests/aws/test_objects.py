"""Objects in S3 that several machines write: answers that are lost, late, incomplete or not S3's."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import boto3
import pytest
from botocore.config import Config

from reconciler.aws.objects import ListedObject, S3Object, list_objects
from reconciler.errors import AwsError
from tests.aws.faulty import Faulty, Said, faulty
from tests.cli.support import REGION

TAG = {"ETag": '"now"'}
CHANGED = Said(412, b"<Error><Code>PreconditionFailed</Code><Message>no</Message></Error>")
GONE = Said(404, b"<Error><Code>NoSuchKey</Code><Message>no</Message></Error>")


def opened(server: Faulty) -> Callable[[], Any]:
    client = boto3.client(
        "s3",
        endpoint_url=server.url,
        region_name=REGION,
        aws_access_key_id="any",
        aws_secret_access_key="any",
        config=Config(retries={"total_max_attempts": 1}, s3={"addressing_style": "path"}),
    )
    return lambda: client


def place(server: Faulty) -> S3Object:
    return S3Object(
        opened(server),
        "acme",
        "key",
        what="the record",
        article="a record",
        advice="allow it",
        max_bytes=10,
        sleep=lambda _seconds: None,
    )


def test_an_object_that_is_larger_than_any_of_ours_is_not_read() -> None:
    with faulty(Said(body=b"0123456789", headers=TAG), Said(body=b"0123456789a", headers=TAG)) as server:
        assert place(server).read() == (b"0123456789", '"now"')
        with pytest.raises(AwsError, match=r"^the record s3://acme/key is not a record: it is larger than 10 bytes"):
            place(server).read()


def test_a_server_without_etags_is_refused() -> None:
    calls: dict[str, Callable[[S3Object], object]] = {
        "GetObject": S3Object.read,
        "PutObject": lambda one: one.write(b"x", ""),
    }
    for operation, call in calls.items():
        with (
            faulty(Said(body=b"")) as server,
            pytest.raises(
                AwsError, match=f"{operation} answered without an ETag; check that the endpoint is"
            ) as refused,
        ):
            call(place(server))
        assert refused.value.code == "UnreadableAnswer"


@pytest.mark.parametrize(("there", "token"), [(b"mine", '"now"'), (b"theirs", None)])
def test_a_write_whose_answer_is_lost_is_found_by_its_content(there: bytes, token: str | None) -> None:
    with faulty(Said(break_off="reset"), CHANGED, Said(body=there, headers=TAG)) as server:
        assert place(server).write(b"mine", '"before"') == token
        assert len(server.asked) == 3


def test_an_object_that_is_deleted_meanwhile_has_changed() -> None:
    with faulty(GONE) as server:
        assert place(server).write(b"mine", '"before"') is None
        assert place(server).read() == (None, "")


def test_a_list_is_read_page_by_page_up_to_its_limit() -> None:
    def page(*keys: str, following: str = "") -> Said:
        items = "".join(f"<Contents><Key>{key}</Key><ETag>e</ETag><Size>3</Size></Contents>" for key in keys)
        more = f"<NextContinuationToken>{following}</NextContinuationToken>" if following else ""
        return Said(body=f"<ListBucketResult>{items}{more}</ListBucketResult>".encode())

    for most, calls in ((10, 2), (3, 2), (2, 2), (1, 1)):
        with faulty(page("a", "b", following="t1"), page("c")) as server:
            found = list(list_objects(opened(server), "acme", "p/", most))
            assert found == [ListedObject(key, "e", 3) for key in "abc"][:most]
            assert len(server.asked) == calls
            assert ("continuation-token=t1" in server.asked[-1]) == (calls == 2)
    with (
        faulty(Said(403, b"<Error><Code>AccessDenied</Code><Message>no</Message></Error>")) as server,
        pytest.raises(AwsError, match=r"^s3://acme/p/ cannot be listed: no; allow s3:ListBucket on it$"),
    ):
        list(list_objects(opened(server), "acme", "p/", 10))
