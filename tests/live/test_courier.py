"""Values of stream keys on their way to where they belong: real clients against stand-ins for Secrets Manager and Parameter Store, files, and what goes wrong."""

from __future__ import annotations

import json
import logging
import os
import stat
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest
from moto.server import ThreadedMotoServer

from reconciler.errors import AwsError
from reconciler.live.answer import Answer
from reconciler.live.courier import Courier
from reconciler.live.gateway import IvsGateway
from reconciler.live.session import open_client, open_session
from reconciler.model.sink import Sink, Store
from reconciler.model.target import Target
from reconciler.sandbox import Sandbox

HERE = Target("here", "us-west-2", sandbox="not used", paced=False)
VALUE = "sk_us-west-2_canary_Canary0123456789"


@pytest.fixture(scope="module")
def stores() -> Iterator[str]:
    """Give the URL of a stand-in for Secrets Manager and Systems Manager."""
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture
def redirected(stores: str, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("AWS_ENDPOINT_URL_SECRETS_MANAGER", stores)
    monkeypatch.setenv("AWS_ENDPOINT_URL_SSM", stores)
    return stores


class One:
    """Hands over one value."""

    def hand_over(self, arn: str, take: Callable[[str], None], /) -> Answer:
        take(VALUE)
        return Answer({})


def courier(sandbox: Path | None = None) -> Courier:
    session = open_session(HERE, None)
    return Courier(One(), lambda service: open_client(session, service, HERE, None, 1), sandbox=sandbox, sleep=lambda _seconds: None)


def client(service: str, url: str) -> Any:
    return boto3.client(service, endpoint_url=url, region_name="us-west-2", aws_access_key_id="123456789012", aws_secret_access_key="sandbox")


def test_a_secret_that_is_not_there_is_made_and_gets_a_new_version_the_next_time(redirected: str) -> None:
    sink = Sink(Store.SECRETS_MANAGER, "acme/prod/one")
    courier().deliver("arn", sink)
    secrets = client("secretsmanager", redirected)
    first = secrets.get_secret_value(SecretId=sink.name)
    assert first["SecretString"] == VALUE
    secrets.put_secret_value(SecretId=sink.name, SecretString="another")
    courier().deliver("arn", sink)
    again = secrets.get_secret_value(SecretId=sink.name)
    assert again["SecretString"] == VALUE
    assert again["VersionId"] != first["VersionId"]


def test_a_secret_is_found_by_its_arn_and_not_made_where_the_arn_leads_nowhere(redirected: str) -> None:
    secrets = client("secretsmanager", redirected)
    arn = secrets.create_secret(Name="by-arn", SecretString="before")["ARN"]
    courier().deliver("arn", Sink(Store.SECRETS_MANAGER, arn))
    assert secrets.get_secret_value(SecretId=arn)["SecretString"] == VALUE
    with pytest.raises(AwsError, match=r"the Secrets Manager secret arn:.* did not take it: PutSecretValue") as caught:
        courier().deliver("arn", Sink(Store.SECRETS_MANAGER, arn.replace("by-arn", "nobody")))
    assert caught.value.code == "ResourceNotFoundException"
    assert VALUE not in str(caught.value)


def test_a_parameter_is_a_secure_string_and_written_over(redirected: str) -> None:
    sink = Sink(Store.PARAMETER_STORE, "/ivs/acme/prod/one")
    courier().deliver("arn", sink)
    courier().deliver("arn", sink)
    found = client("ssm", redirected).get_parameter(Name=sink.name, WithDecryption=True)["Parameter"]
    assert (found["Value"], found["Type"]) == (VALUE, "SecureString")
    assert client("ssm", redirected).get_parameter(Name=sink.name)["Parameter"]["Value"] != VALUE


def test_the_key_to_encrypt_with_is_passed_on(redirected: str) -> None:
    key = client("kms", redirected).create_key()["KeyMetadata"]["KeyId"]
    courier().deliver("arn", Sink(Store.SECRETS_MANAGER, "with-key", key))
    courier().deliver("arn", Sink(Store.PARAMETER_STORE, "/with/key", key))
    assert client("secretsmanager", redirected).describe_secret(SecretId="with-key")["KmsKeyId"] == key
    (parameter,) = client("ssm", redirected).describe_parameters(ParameterFilters=[{"Key": "Name", "Values": ["/with/key"]}])["Parameters"]
    assert parameter["KeyId"] == key


def test_a_store_that_is_not_there_is_named_without_the_value(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL_SSM", "http://127.0.0.1:9")
    with pytest.raises(AwsError, match="the parameter /ivs/one did not take it: PutParameter: cannot connect") as caught:
        courier().deliver("arn", Sink(Store.PARAMETER_STORE, "/ivs/one"))
    assert VALUE not in repr(caught.value) + str(caught.value.__cause__)


def test_an_endpoint_that_is_no_url_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL_SSM", "nonsense")
    with pytest.raises(AwsError, match="correct AWS_ENDPOINT_URL_SSM"):
        courier().deliver("arn", Sink(Store.PARAMETER_STORE, "/ivs/one"))


def test_a_file_is_its_owners_alone_and_never_written_over(tmp_path: Path) -> None:
    path = tmp_path / "key.txt"
    mask = os.umask(0)
    try:
        courier().deliver("arn", Sink(Store.FILE, str(path)))
    finally:
        os.umask(mask)
    assert path.read_text(encoding="utf-8") == VALUE + "\n"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    path.write_text("mine", encoding="utf-8")
    with pytest.raises(AwsError, match="is there already, and is not written over"):
        courier().deliver("arn", Sink(Store.FILE, str(path)))
    assert path.read_text(encoding="utf-8") == "mine"
    with pytest.raises(AwsError, match=r"cannot be written \(no such file"):
        courier().deliver("arn", Sink(Store.FILE, str(tmp_path / "nowhere" / "key")))


def test_an_embedded_server_keeps_values_in_a_file_beside_its_own(tmp_path: Path) -> None:
    path = tmp_path / "dev.db.sinks.json"
    one, two = Sink(Store.SECRETS_MANAGER, "one"), Sink(Store.PARAMETER_STORE, "/two")
    courier(path).deliver("arn", one)
    courier(path).deliver("arn", two)
    assert json.loads(path.read_text(encoding="utf-8")) == {one.mark: VALUE, two.mark: VALUE}
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_an_embedded_server_uses_real_stores_where_the_environment_names_them(tmp_path: Path, redirected: str) -> None:
    path = tmp_path / "dev.db.sinks.json"
    courier(path).deliver("arn", Sink(Store.PARAMETER_STORE, "/ivs/redirected"))
    assert client("ssm", redirected).get_parameter(Name="/ivs/redirected", WithDecryption=True)["Parameter"]["Value"] == VALUE
    assert not path.exists()


def test_the_gateway_hands_a_value_over_and_keeps_nothing_of_it() -> None:
    taken: list[str] = []
    with Sandbox() as sandbox:
        ivs = client("ivs", sandbox.endpoint_url)
        key = ivs.create_channel(name="a")["streamKey"]
        answer = IvsGateway(ivs, pacer=None).hand_over(key["arn"], taken.append)
    assert taken == [key["value"]]
    assert answer.request_id
    assert key["value"] not in repr(answer)


def test_what_a_sink_raises_comes_through_the_gateway() -> None:
    def refuse(_value: str) -> None:
        raise AwsError("full")

    with Sandbox() as sandbox:
        ivs = client("ivs", sandbox.endpoint_url)
        key = ivs.create_channel(name="a")["streamKey"]
        with pytest.raises(AwsError, match="full"):
            IvsGateway(ivs, pacer=None).hand_over(key["arn"], refuse)
