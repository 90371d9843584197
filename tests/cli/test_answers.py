"""Answers that are no answers: a status of 200 alone counts for nothing, and no answer ends a run with a traceback."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
import yaml

from reconciler.aws.notifications import publish, put_event
from reconciler.aws.objects import S3LockBackend
from reconciler.aws.reader import last_streams, list_kind
from reconciler.errors import AwsError
from reconciler.model.address import ID, STACK
from reconciler.model.kinds.ivs import CHANNEL
from reconciler.model.resource import LiveResource
from reconciler.model.target import Receiver, ReceiverType, S3Lock, Sink, Store
from tests.aws.faulty import Said, faulty
from tests.aws.makers import HERE, gateway_to
from tests.aws.test_stores import VALUE, publisher
from tests.cli.support import ACCOUNT, REGION, arn_of, outside, run, stack

ARN = f"arn:aws:ivs:{REGION}:{ACCOUNT}:channel/a"

DEEP = b'{"a":' * 100_000 + b"1" + b"}" * 100_000
DEEP_IN_PART = b'{"Version": 1, "x": ' + b"[" * 300 + b"]" * 300 + b"}"

SINKS = {
    "secretsManager": ({"secretsManager": {"name": "{stack}/{id}"}}, "AWS_ENDPOINT_URL_SECRETS_MANAGER"),
    "parameterStore": ({"parameterStore": {"name": "/{stack}/{id}"}}, "AWS_ENDPOINT_URL_SSM"),
}

NO_ANSWERS = {
    "nothing": b"",
    "empty object": b"{}",
    "list": b"[]",
    "page": b"<html><body>Sign in</body></html>",
    "message": b'{"message": "not here"}',
    "null": b'{"VersionId": null, "ARN": "", "Version": null}',
    "wrong type": b'{"VersionId": {}, "ARN": [], "Version": "one"}',
    "deep": DEEP,
    "deep in part": DEEP_IN_PART,
}


@pytest.mark.parametrize(
    ("store", "said"), [("secretsManager", "page"), ("parameterStore", "empty object"), ("parameterStore", "deep")]
)
def test_an_apply_whose_store_answers_without_a_version_publishes_again_next_time(
    tmp_path: Path, store: str, said: str
) -> None:
    sink, variable = SINKS[store]
    body = NO_ANSWERS[said]
    folder = stack(tmp_path / "repo", {"channels": {"a": {"streamKey": {"sink": sink}}}})
    with faulty(Said(body=body, headers={"Content-Type": "application/x-amz-json-1.1"})) as server:
        ran = run(folder, "apply", "--auto-approve", env={variable: server.url})
        assert ran.code == 4
        assert "not published yet" in ran.out + ran.err
        again = run(folder, "plan", "--detailed-exitcode", env={variable: server.url})
    assert again.code == 2
    with outside(folder) as (ivs, _):
        (key,) = ivs.list_stream_keys(channelArn=arn_of(ivs, "a"))["streamKeys"]
        value = ivs.get_stream_key(arn=key["arn"])["streamKey"]["value"]
    assert value not in ran.out + ran.err


@pytest.mark.parametrize("body", NO_ANSWERS.values(), ids=NO_ANSWERS)
@pytest.mark.parametrize("store", SINKS)
def test_a_store_that_answers_without_a_version_has_not_stored_the_value(
    monkeypatch: pytest.MonkeyPatch, store: str, body: bytes
) -> None:
    with faulty(Said(body=body, headers={"Content-Type": "application/x-amz-json-1.1"})) as server:
        monkeypatch.setenv(SINKS[store][1], server.url)
        sink = Sink(Store(store), "one")
        with pytest.raises(AwsError) as caught:
            publisher().publish("arn", sink)
    assert VALUE not in str(caught.value)


def _error(code: str, message: str) -> bytes:
    return json.dumps({"__type": code, "message": message}).encode()


def _sent(body: str) -> str:
    content = json.loads(body)
    return str(content.get("SecretString") or content["Value"])


ECHOES: dict[str, Callable[[str], bytes]] = {
    "code": lambda body: _error(_sent(body), "no"),
    "code in a sentence": lambda body: _error(f"Bad value {_sent(body)} of yours", ""),
    "message": lambda body: _error("InvalidRequestException", f"cannot store '{_sent(body)}'"),
    "message cut by us": lambda body: _error("InvalidRequestException", "x" * 955 + " " + _sent(body)),
    "message cut by them": lambda body: _error("InvalidRequestException", f"cannot store {_sent(body)[:44]}"),
    "code cut by them": lambda body: _error(_sent(body)[:44], ""),
    "end of it": lambda body: _error("InvalidRequestException", f"cannot store …{_sent(body)[-12:]}"),
}


@pytest.mark.parametrize("echo", ECHOES.values(), ids=ECHOES)
def test_a_value_repeated_by_a_store_is_in_no_text_or_file(tmp_path: Path, echo: Callable[[str], bytes]) -> None:
    sink, variable = SINKS["parameterStore"]
    folder = stack(tmp_path / "repo", {"channels": {"a": {"streamKey": {"sink": sink}}}})
    with faulty(Said(400, headers={"Content-Type": "application/x-amz-json-1.1"}, echo=echo)) as server:
        ran = run(
            folder,
            "-vv",
            "--log-format",
            "json",
            "apply",
            "--auto-approve",
            "--format",
            "json",
            env={variable: server.url},
        )
        value = _sent(server.bodies[-1])
    assert ran.code == 4
    texts = [
        ran.out,
        ran.err,
        *(path.read_text() for path in (folder / ".ivs-reconciler").rglob("*") if path.is_file()),
    ]
    secret = value.rpartition(f"sk_{REGION}_")[2]
    shown = [secret[at : at + 6] for at in range(len(secret) - 5) if any(secret[at : at + 6] in text for text in texts)]
    assert shown == []


@pytest.mark.parametrize("code", [f"sk_{REGION}_abc_DEF0123456789", "Bad\n::error::x", "aA1" * 40])
def test_an_error_code_of_ivs_that_is_no_code_is_masked_and_one_line(code: str) -> None:
    with faulty(Said(400, _error(code, ""))) as server, pytest.raises(AwsError) as caught:
        gateway_to(server.url).call("ListChannels", {})
    assert code not in caught.value.code + str(caught.value)
    assert len(caught.value.code) <= 81


IVS_ANSWERS: dict[str, tuple[str, dict[str, object]]] = {
    "create": ("CreateChannel", {"name": "a"}),
    "update": ("UpdateChannel", {"arn": ARN, "name": "a"}),
    "get": ("GetRecordingConfiguration", {"arn": ARN}),
}


@pytest.mark.parametrize("body", [b"{}", b'{"channel": {}}', b'{"channel": {"arn": null}}', b'{"message": "ok"}', DEEP])
@pytest.mark.parametrize("asked", IVS_ANSWERS.values(), ids=IVS_ANSWERS)
def test_an_answer_of_ivs_without_the_resource_is_a_failure(asked: tuple[str, dict[str, object]], body: bytes) -> None:
    with faulty(Said(body=body)) as server, pytest.raises(AwsError) as caught:
        gateway_to(server.url).call(*asked)
    assert caught.value.code == "UnreadableAnswer"


@pytest.mark.parametrize(
    "item", ["{}", "1", '"a"', '{"arn": 1}', '{"arn": "a", "tags": ["x"]}', '{"arn": "a", "tags": {"x": {}}}']
)
def test_a_list_with_something_that_is_no_resource_is_a_failure(item: str) -> None:
    with faulty(Said(body=f'{{"channels": [{item}]}}'.encode())) as server, pytest.raises(AwsError) as caught:
        list(list_kind(gateway_to(server.url), CHANNEL))
    assert caught.value.code == "UnreadableAnswer"


def test_an_answer_without_sessions_is_not_a_channel_that_was_never_live() -> None:
    channels = [LiveResource(CHANNEL.name, f"{ARN}{n}", {}, {STACK: "acme", ID: "a"}) for n in "12"]
    with faulty(Said(body=b"{}")) as server, pytest.raises(AwsError, match="no list 'streamSessions'"):
        last_streams(gateway_to(server.url), channels, "acme")


@pytest.mark.parametrize(
    ("service", "name", "arn"), [("SNS", "sns", "topic"), ("EVENTBRIDGE", "events", "event-bus/x")]
)
def test_a_notification_without_an_id_was_not_sent(
    monkeypatch: pytest.MonkeyPatch, service: str, name: str, arn: str
) -> None:
    bodies = {"sns": b"<PublishResponse><PublishResult/></PublishResponse>", "events": b"{}"}
    receiver = Receiver(
        "ops",
        ReceiverType.SNS if name == "sns" else ReceiverType.EVENT_BRIDGE,
        arn=f"arn:aws:{name}:{REGION}:{ACCOUNT}:{arn}",
    )
    with faulty(Said(body=bodies[name], headers={"Content-Type": "application/x-amz-json-1.1"})) as server:
        monkeypatch.setenv(f"AWS_ENDPOINT_URL_{service}", server.url)
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE")
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "x")
        send = {
            "sns": partial(publish, receiver, subject="s", text="t", identity="i", group="g"),
            "events": partial(put_event, receiver, detail="{}", resources=()),
        }[name]
        with pytest.raises(AwsError, match="answered without") as caught:
            send()
    assert caught.value.ambiguous


@pytest.mark.parametrize(("body", "tag"), [(b"", ""), (b"x" * 100_000, '"1"')])
def test_a_lock_in_s3_without_an_etag_or_too_large_is_refused(
    monkeypatch: pytest.MonkeyPatch, body: bytes, tag: str
) -> None:
    headers = {"ETag": tag} if tag else {}
    with faulty(Said(body=body, headers=headers)) as server:
        monkeypatch.setenv("AWS_ENDPOINT_URL_S3", server.url)
        lock = S3LockBackend(S3Lock("bucket", "key"), HERE._replace(sandbox="x"))
        with pytest.raises(AwsError) as caught:
            lock.read()
    assert caught.value.code == "UnreadableAnswer"


def test_a_store_that_names_a_version_has_stored_the_value(tmp_path: Path) -> None:
    for store, body in (("secretsManager", b'{"VersionId": "v1"}'), ("parameterStore", b'{"Version": 1}')):
        sink, variable = SINKS[store]
        folder = stack(tmp_path / store, {"channels": {"a": {"streamKey": {"sink": sink}}}})
        with faulty(Said(body=body, headers={"Content-Type": "application/x-amz-json-1.1"})) as server:
            assert run(folder, "apply", "--auto-approve", env={variable: server.url}).code == 0
            assert run(folder, "plan", "--detailed-exitcode", env={variable: server.url}).code == 0


@pytest.mark.parametrize("body", [DEEP, b"[" * 100_000, b"{}"], ids=["objects", "lists", "empty object"])
@pytest.mark.parametrize("status", [200, 400])
def test_a_service_that_answers_nonsense_ends_the_run_with_a_message(tmp_path: Path, status: int, body: bytes) -> None:
    with faulty(Said(status, body)) as server:
        target = {"sandbox": None, "endpointUrl": server.url}
        folder = stack(tmp_path / "repo", {"channels": {"a": {}}}, target=target)
        ran = run(
            folder,
            "plan",
            env={"AWS_ACCESS_KEY_ID": "AKIDEXAMPLE", "AWS_SECRET_ACCESS_KEY": "x", "AWS_MAX_ATTEMPTS": "1"},
        )
    assert ran.code == 1
    assert "GetCallerIdentity" in ran.err


def _xml(depth: int, head: bytes = b"", tail: bytes = b"") -> bytes:
    return b'<?xml version="1.0"?>' + head + b"<a>" * depth + b"1" + b"</a>" * depth + tail


DEEP_XML = {
    "deep": _xml(100_000),
    "deep in an error": _xml(100_000, b"<Error><Code>", b"</Code></Error>"),
    "deep in an STS error": _xml(20_000, b"<ErrorResponse><Error><Code>X</Code><Message>", b"</Message></Error></ErrorResponse>"),
    "deep in a result": _xml(
        20_000,
        b"<GetCallerIdentityResponse><GetCallerIdentityResult><Account>",
        b"</Account></GetCallerIdentityResult></GetCallerIdentityResponse>",
    ),
    "many entities": b'<!DOCTYPE a [<!ENTITY a "aaaaaaaaaa">' + b"".join(
        b'<!ENTITY a%d "%s">' % (level, b"&a%s;" % (str(level - 1).encode() if level > 1 else b"") * 10) for level in range(1, 12)
    ) + b"]><Error><Code>&a11;</Code></Error>",
    "open": b"<Error>" * 5_000,
}  # fmt: skip


@pytest.mark.parametrize("status", [200, 403])
def test_deeply_nested_xml_is_an_error_without_a_traceback(tmp_path: Path, status: int) -> None:
    folder = stack(tmp_path / "repo", {"channels": {"a": {}}})
    locked = {"lock": {"s3": {"bucket": "b", "key": "k"}}}
    (folder / "aws.yaml").write_text(
        yaml.safe_dump({"stack": "acme-live", "targets": {"dev": {"region": REGION, **locked}}}), encoding="utf-8"
    )
    keys = {"AWS_ACCESS_KEY_ID": ACCOUNT, "AWS_SECRET_ACCESS_KEY": "any", "AWS_MAX_ATTEMPTS": "1"}
    for name, body in DEEP_XML.items():
        with faulty(Said(status, body=body, headers={"Content-Type": "text/xml"})) as server:
            for service, words in (("STS", ("plan",)), ("S3", ("unlock", "--force"))):
                ran = run(
                    folder, "--config", "aws.yaml", *words, env={**keys, f"AWS_ENDPOINT_URL_{service}": server.url}
                )
                assert ran.code == 1, (name, service, ran.out)
                assert len(ran.err) < 3000, (name, service)
