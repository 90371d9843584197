"""Values of stream keys on their way to where they belong: real clients against stand-ins for Secrets Manager and Parameter Store, files, and what goes wrong."""

from __future__ import annotations

import json
import os
import signal
import stat
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import boto3
import pytest

from reconciler.aws.client import Answer, IvsGateway
from reconciler.aws.session import open_client, open_session
from reconciler.aws.stores import SecretPublisher, write_sandbox_store
from reconciler.errors import AwsError
from reconciler.model.kinds import Kind, Service
from reconciler.model.kinds.ivs import STREAM_KEY
from reconciler.model.target import Sink, SinkValue, Store, Target
from reconciler.sandbox import Sandbox
from tests.aws.stores import Stores

HERE = Target("here", "us-west-2", sandbox="not used", paced=False)
VALUE = "sk_us-west-2_canary_Canary0123456789"


@pytest.fixture
def redirected(moto: str, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("AWS_ENDPOINT_URL_SECRETS_MANAGER", moto)
    monkeypatch.setenv("AWS_ENDPOINT_URL_SSM", moto)
    return moto


class One:
    """Hands over one value."""

    def read_value(self, kind: Kind, arn: str, take: Callable[[str], None], /) -> Answer:
        take(VALUE)
        return Answer({"streamKey": {"arn": arn, "channelArn": "arn:channel"}})

    def call(self, operation: str, parameters: Mapping[str, object], service: Service | None = None, /) -> Answer:
        assert (operation, parameters) == ("BatchGetChannel", {"arns": ["arn:channel"]})
        return Answer({"channels": [{"arn": "arn:channel", "ingestEndpoint": "a1.global-contribute.live-video.net"}]})


def publisher(sandbox: Path | None = None) -> SecretPublisher:
    session = open_session(HERE, None)
    return SecretPublisher(
        One(),
        lambda service: open_client(session, service, HERE, None, 1),
        sandbox=sandbox,
        sleep=lambda _seconds: None,
    )


def client(service: str, url: str) -> Any:
    return boto3.client(
        service,
        endpoint_url=url,
        region_name="us-west-2",
        aws_access_key_id="123456789012",
        aws_secret_access_key="sandbox",
    )


def test_a_secret_that_is_not_there_is_made_and_gets_a_new_version_the_next_time(redirected: str) -> None:
    sink = Sink(Store.SECRETS_MANAGER, "acme/prod/one")
    publisher().publish("arn", sink)
    secrets = client("secretsmanager", redirected)
    first = secrets.get_secret_value(SecretId=sink.name)
    assert first["SecretString"] == VALUE
    secrets.put_secret_value(SecretId=sink.name, SecretString="another")
    publisher().publish("arn", sink)
    again = secrets.get_secret_value(SecretId=sink.name)
    assert again["SecretString"] == VALUE
    assert again["VersionId"] != first["VersionId"]


def test_a_secret_is_found_by_its_arn_and_not_made_where_the_arn_leads_nowhere(redirected: str) -> None:
    secrets = client("secretsmanager", redirected)
    arn = secrets.create_secret(Name="by-arn", SecretString="before")["ARN"]
    publisher().publish("arn", Sink(Store.SECRETS_MANAGER, arn))
    assert secrets.get_secret_value(SecretId=arn)["SecretString"] == VALUE
    with pytest.raises(AwsError, match=r"cannot write the Secrets Manager secret arn:.*: PutSecretValue") as caught:
        publisher().publish("arn", Sink(Store.SECRETS_MANAGER, arn.replace("by-arn", "nobody")))
    assert caught.value.code == "ResourceNotFoundException"
    assert VALUE not in str(caught.value)


def test_a_parameter_is_a_secure_string_and_written_over(redirected: str) -> None:
    sink = Sink(Store.PARAMETER_STORE, "/ivs/acme/prod/one")
    publisher().publish("arn", sink)
    publisher().publish("arn", sink)
    found = client("ssm", redirected).get_parameter(Name=sink.name, WithDecryption=True)["Parameter"]
    assert (found["Value"], found["Type"]) == (VALUE, "SecureString")
    assert client("ssm", redirected).get_parameter(Name=sink.name)["Parameter"]["Value"] != VALUE


def test_a_sink_for_json_gets_the_ingest_url_and_the_value(redirected: str, tmp_path: Path) -> None:
    text = json.dumps({"url": "rtmps://a1.global-contribute.live-video.net:443/app/", "key": VALUE})
    secret, parameter, file = (
        Sink(store, name, value=SinkValue.JSON)
        for store, name in (
            (Store.SECRETS_MANAGER, "acme/prod/json"),
            (Store.PARAMETER_STORE, "/ivs/acme/json"),
            (Store.FILE, str(tmp_path / "key.json")),
        )
    )
    for sink in (secret, parameter, file):
        assert publisher().publish("arn", sink).calls == 2
    assert client("secretsmanager", redirected).get_secret_value(SecretId=secret.name)["SecretString"] == text
    ssm = client("ssm", redirected)
    assert ssm.get_parameter(Name=parameter.name, WithDecryption=True)["Parameter"]["Value"] == text
    assert Path(file.name).read_text(encoding="utf-8") == text + "\n"
    stores = Stores()
    stores.add_fault("error", operation="PutParameter", code="ValidationException", message=f"bad value {text}")
    with pytest.raises(AwsError, match=r"cannot write the parameter .* as JSON: PutParameter: .*a1\.global") as caught:
        SecretPublisher(One(), stores.client, sleep=lambda _seconds: None).publish("arn", parameter)
    assert "Canary" not in str(caught.value)


def test_the_key_to_encrypt_with_is_passed_on(redirected: str) -> None:
    key = client("kms", redirected).create_key()["KeyMetadata"]["KeyId"]
    publisher().publish("arn", Sink(Store.SECRETS_MANAGER, "with-key", key))
    publisher().publish("arn", Sink(Store.PARAMETER_STORE, "/with/key", key))
    assert client("secretsmanager", redirected).describe_secret(SecretId="with-key")["KmsKeyId"] == key
    (parameter,) = client("ssm", redirected).describe_parameters(
        ParameterFilters=[{"Key": "Name", "Values": ["/with/key"]}]
    )["Parameters"]
    assert parameter["KeyId"] == key


def test_a_store_that_is_not_there_is_named_without_the_value(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL_SSM", "http://127.0.0.1:9")
    with pytest.raises(AwsError, match="cannot write the parameter /ivs/one: PutParameter: cannot connect") as caught:
        publisher().publish("arn", Sink(Store.PARAMETER_STORE, "/ivs/one"))
    assert VALUE not in repr(caught.value) + str(caught.value.__cause__)


def test_an_endpoint_that_is_no_url_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL_SSM", "nonsense")
    with pytest.raises(AwsError, match="correct AWS_ENDPOINT_URL_SSM"):
        publisher().publish("arn", Sink(Store.PARAMETER_STORE, "/ivs/one"))


def test_a_file_is_its_owners_alone_and_never_written_over(tmp_path: Path) -> None:
    path = tmp_path / "key.txt"
    mask = os.umask(0)
    try:
        publisher().publish("arn", Sink(Store.FILE, str(path)))
    finally:
        os.umask(mask)
    assert path.read_text(encoding="utf-8") == VALUE + "\n"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    path.write_text("mine", encoding="utf-8")
    with pytest.raises(AwsError, match="already exists and is not overwritten"):
        publisher().publish("arn", Sink(Store.FILE, str(path)))
    assert path.read_text(encoding="utf-8") == "mine"
    with pytest.raises(AwsError, match=r"cannot be written \(no such file"):
        publisher().publish("arn", Sink(Store.FILE, str(tmp_path / "nowhere" / "key")))


def _killed_in_the_middle_of_writing(path: Path) -> int:
    """Write a file in a process that the system kills once a part of the value is on the disk; return the signal."""
    script = (
        "import resource, signal, sys; from pathlib import Path; from reconciler.aws.stores import write_value_file; "
        "signal.signal(signal.SIGXFSZ, signal.SIG_DFL); resource.setrlimit(resource.RLIMIT_FSIZE, (8, 8)); resource.setrlimit(resource.RLIMIT_CORE, (0, 0)); "
        "write_value_file(Path(sys.argv[1]), sys.argv[2])"
    )
    return subprocess.run([sys.executable, "-c", script, str(path), VALUE], check=False, timeout=120).returncode


@pytest.mark.skipif(not hasattr(os, "O_TMPFILE"), reason="files without a name are Linux's")
def test_a_process_that_is_killed_while_it_writes_leaves_no_half_of_a_value(tmp_path: Path) -> None:
    path = tmp_path / "key.txt"
    assert _killed_in_the_middle_of_writing(path) == -signal.SIGXFSZ
    assert list(tmp_path.iterdir()) == []
    publisher().publish("arn", Sink(Store.FILE, str(path)))
    assert path.read_text(encoding="utf-8") == VALUE + "\n"


def test_values_published_at_once_do_not_overwrite_one_another(tmp_path: Path) -> None:
    path = tmp_path / "dev.db.sinks.json"
    script = (
        "import sys; from pathlib import Path; from reconciler.aws.stores import write_sandbox_store; from reconciler.model.target import Sink, Store\n"
        "for number in range(60): write_sandbox_store(Path(sys.argv[1]), Sink(Store.PARAMETER_STORE, f'/{sys.argv[2]}/{number}'), 'x')"
    )
    both = [subprocess.Popen([sys.executable, "-c", script, str(path), who]) for who in ("one", "two")]
    assert [process.wait(120) for process in both] == [0, 0]
    assert len(json.loads(path.read_text(encoding="utf-8"))) == 120


def test_a_stand_in_that_another_process_keeps_locked_is_not_waited_for_for_ever(tmp_path: Path) -> None:
    path = tmp_path / "dev.db.sinks.json"
    script = "import fcntl, sys; file = open(sys.argv[1], 'a'); fcntl.flock(file, fcntl.LOCK_EX); print('up', flush=True); sys.stdin.read()"
    with subprocess.Popen(
        [sys.executable, "-S", "-c", script, f"{path}.lock"], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as other:
        assert other.stdout is not None
        other.stdout.readline()
        with pytest.raises(AwsError, match=r"locked by another process for more than 0\.2 seconds") as caught:
            write_sandbox_store(path, Sink(Store.PARAMETER_STORE, "/ivs/main"), "CANARY", patience=0.2)
        other.kill()
    assert "CANARY" not in str(caught.value)
    write_sandbox_store(path, Sink(Store.PARAMETER_STORE, "/ivs/main"), "value")
    assert "value" in path.read_text(encoding="utf-8")


def test_a_missing_secret_is_created_by_a_caller_limited_to_named_secrets() -> None:
    """AWS knows no ARN for it then, and says that the caller is not allowed."""
    prefix = f"arn:aws:secretsmanager:{HERE.region}:123456789012:secret:"
    stores = Stores(allowed=lambda _action, resource: resource.startswith(f"{prefix}acme/"))
    there, other = Sink(Store.SECRETS_MANAGER, "acme/one"), Sink(Store.SECRETS_MANAGER, "other/one")
    bearer = SecretPublisher(One(), stores.client, sleep=lambda _seconds: None)
    bearer.publish("arn", there)
    assert stores.value_of(there) == VALUE
    bearer.publish("arn", there)
    assert stores.calls == ["PutSecretValue", "CreateSecret", "PutSecretValue"]
    with pytest.raises(
        AwsError, match="not authorized to perform: secretsmanager:PutSecretValue on resource: other/one"
    ):
        bearer.publish("arn", other)
    stores.allowed = lambda action, _resource: action == "secretsmanager:CreateSecret"
    with pytest.raises(AwsError, match="secretsmanager:PutSecretValue on resource: arn:"):
        bearer.publish("arn", there)


def test_a_new_secret_whose_answer_is_lost_is_written_to_and_not_made_twice() -> None:
    prefix = f"arn:aws:secretsmanager:{HERE.region}:123456789012:secret:"
    stores = Stores(allowed=lambda _action, resource: resource.startswith(prefix))
    stores.add_fault("reset", operation="CreateSecret", when="after")
    sink = Sink(Store.SECRETS_MANAGER, "acme/one")
    SecretPublisher(One(), stores.client, sleep=lambda _seconds: None).publish("arn", sink)
    assert stores.calls == ["PutSecretValue", "CreateSecret", "CreateSecret", "PutSecretValue"]
    assert stores.value_of(sink) == VALUE


@pytest.mark.parametrize(
    ("code", "said"),
    [("AccessDeniedException", "is not authorized to perform ssm:PutParameter"), ("TooManyUpdates", None)],
)
def test_a_refusal_without_words_names_the_service_and_a_busy_parameter_is_waited_for(
    code: str, said: str | None
) -> None:
    stores = Stores()
    stores.add_fault("error", operation="PutParameter", code=code, message="")
    sink = Sink(Store.PARAMETER_STORE, "/ivs/one")
    bearer = SecretPublisher(One(), stores.client, sleep=lambda _seconds: None)
    if said is None:
        bearer.publish("arn", sink)
        assert stores.value_of(sink) == VALUE
        return
    with pytest.raises(AwsError, match=said):
        bearer.publish("arn", sink)


def test_an_embedded_server_keeps_values_in_a_file_beside_its_own(tmp_path: Path) -> None:
    path = tmp_path / "dev.db.sinks.json"
    one, two = Sink(Store.SECRETS_MANAGER, "one"), Sink(Store.PARAMETER_STORE, "/two")
    publisher(path).publish("arn", one)
    publisher(path).publish("arn", two)
    assert json.loads(path.read_text(encoding="utf-8")) == {one.mark: VALUE, two.mark: VALUE}
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_an_embedded_server_uses_real_stores_where_the_environment_names_them(tmp_path: Path, redirected: str) -> None:
    path = tmp_path / "dev.db.sinks.json"
    publisher(path).publish("arn", Sink(Store.PARAMETER_STORE, "/ivs/redirected"))
    assert (
        client("ssm", redirected).get_parameter(Name="/ivs/redirected", WithDecryption=True)["Parameter"]["Value"]
        == VALUE
    )
    assert not path.exists()


def test_the_gateway_passes_a_value_on_and_keeps_nothing_of_it() -> None:
    taken: list[str] = []
    with Sandbox() as sandbox:
        ivs = client("ivs", sandbox.endpoint_url)
        key = ivs.create_channel(name="a")["streamKey"]
        answer = IvsGateway(ivs, pacer=None).read_value(STREAM_KEY, key["arn"], taken.append)
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
            IvsGateway(ivs, pacer=None).read_value(STREAM_KEY, key["arn"], refuse)
