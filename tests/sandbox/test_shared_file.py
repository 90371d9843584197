"""One file, several servers, one after another: what is shared, what survives, what does not."""

from __future__ import annotations

import sqlite3
import time
import urllib.error
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from botocore.config import Config
from botocore.exceptions import ClientError

from reconciler.sandbox import Sandbox, VirtualClock
from reconciler.sandbox.state.store import FORMAT, Store
from tests.sandbox.helpers import refusal
from tests.sandbox.test_store import post, serve


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "state.db"


@pytest.fixture
def pair(file: Path, session: Any) -> Iterator[tuple[VirtualClock, Any, Any]]:
    """Two servers on one file with call rates, on one clock, and a client of each."""
    clock = VirtualClock()
    with Sandbox(file, clock=clock, quotas=True) as one, Sandbox(file, clock=clock, quotas=True) as two:
        yield clock, client_of(session, one), client_of(session, two)


def client_of(session: Any, sandbox: Sandbox, key: str = "123456789012") -> Any:
    return session.client(
        "ivs",
        endpoint_url=sandbox.endpoint_url,
        region_name="us-west-2",
        aws_access_key_id=key,
        aws_secret_access_key="any",
        config=Config(retries={"total_max_attempts": 1}),
    )


def test_one_account_has_one_bucket_however_many_servers_serve_the_file(pair: tuple[VirtualClock, Any, Any]) -> None:
    clock, one, two = pair
    for ivs in (one, two, one, two, one):
        ivs.list_channels()
    for ivs in (one, two):
        assert refusal(ivs.list_channels) == (429, "ThrottlingException")
    clock.advance(0.2)
    two.list_channels()
    assert refusal(one.list_channels)[0] == 429
    one.list_streams()


def test_two_processes_on_one_file_let_no_more_through_than_one(file: Path) -> None:
    servers = [serve("--db", str(file), "--quotas") for _ in range(2)]
    try:
        passed, refused = 0, list[int]()
        began = time.time()
        while passed + len(refused) < 24 or (not refused and passed < 300):
            _, endpoint = servers[(passed + len(refused)) % 2]
            try:
                post(endpoint, "CreateChannel", {})
                passed += 1
            except urllib.error.HTTPError as error:
                refused.append(error.code)
        took = time.time() - began
    finally:
        for process, _ in servers:
            process.terminate()
            process.wait(60)
            if process.stdout:
                process.stdout.close()
    assert set(refused) == {429}
    # A bucket each would have let ten through at once; one bucket lets five, and five a second after.
    store = Store(file)
    with store.transaction(write=False) as connection:
        ((tokens,),) = connection.execute("SELECT tokens FROM buckets WHERE operation = 'ivs:CreateChannel'").fetchall()
    store.close()
    assert tokens < 5
    assert passed <= 5 + took * 5


def test_a_bucket_outlives_its_server_until_rates_are_set(file: Path, session: Any) -> None:
    clock = VirtualClock()
    with Sandbox(file, clock=clock, quotas=True) as before:
        for _ in range(5):
            client_of(session, before).list_channels()
    with Sandbox(file, clock=clock, quotas=True) as after:
        ivs = client_of(session, after)
        assert refusal(ivs.list_channels)[0] == 429
        after.control.set_rates(True)
        ivs.list_channels()
    # A clock that was set back stops no one for longer than a bucket takes to fill.
    with Sandbox(file, clock=VirtualClock(1_000_000_000.0), quotas=True) as earlier:
        for _ in range(4):
            client_of(session, earlier).list_channels()


def test_what_survives_a_restart_is_the_world_and_what_does_not_is_the_weather(file: Path, session: Any) -> None:
    clock = VirtualClock()
    with Sandbox(file, clock=clock, settle_seconds=10) as before:
        ivs = client_of(session, before)
        arn = ivs.create_channel(name="stage")["channel"]["arn"]
        record = ivs.create_recording_configuration(destinationConfiguration={"s3": {"bucketName": "vod"}})[
            "recordingConfiguration"
        ]["arn"]
        stream = before.control.go_live(arn, viewers=3)["streamId"]
        before.control.set_quota("channels", 7)
        before.control.deny("ListChannels")
        before.control.set_lag(create=60)
        before.control.set_rates({"GetChannel": 1})
        before.control.assume("name-filter", "prefix")
    clock.advance(10)
    with Sandbox(file, clock=clock) as after:
        ivs = client_of(session, after)
        assert ivs.get_stream(channelArn=arn)["stream"]["streamId"] == stream
        assert refusal(ivs.delete_channel, arn=arn) == (409, "ConflictException")
        assert ivs.get_recording_configuration(arn=record)["recordingConfiguration"]["state"] == "ACTIVE"
        assert after.control.quotas()["channels"] == 7
        assert {call["operation"] for call in after.control.calls()} >= {
            "CreateChannel",
            "CreateRecordingConfiguration",
        }
        assert len(after.control.events()) == 2
        assert after.control.faults() == []
        assert len(ivs.list_channels(filterByName="sta")["channels"]) == 0
        assert len(ivs.list_channels()["channels"]) == 1
        ivs.get_channel(arn=ivs.create_channel()["channel"]["arn"])
        ivs.get_channel(arn=arn)


def test_faults_lag_rates_and_assumptions_are_each_servers_own_and_streams_are_not(file: Path, session: Any) -> None:
    with Sandbox(file) as one, Sandbox(file) as two:
        ours, theirs = client_of(session, one), client_of(session, two)
        arn = ours.create_channel()["channel"]["arn"]
        one.control.deny("*")
        two.control.go_live(arn)
        with pytest.raises(ClientError, match="not authorized"):
            ours.get_stream(channelArn=arn)
        assert theirs.get_stream(channelArn=arn)["stream"]["state"] == "LIVE"
        one.control.clear_faults()
        assert refusal(ours.delete_channel, arn=arn) == (409, "ConflictException")
        one.control.set_quota("channels", 1)
        assert refusal(theirs.create_channel) == (402, "ServiceQuotaExceededException")


def test_a_file_of_the_first_format_is_brought_up_to_date_and_keeps_what_it_holds(file: Path) -> None:
    with Sandbox(file) as sandbox:
        sandbox.control.set_quota("channels", 7)
    connection = sqlite3.connect(file)
    connection.executescript("DROP TABLE buckets; PRAGMA user_version = 1")
    connection.close()
    with Sandbox(file, quotas=True) as sandbox:
        assert sandbox.control.quotas()["channels"] == 7
        post(sandbox.endpoint_url, "ListChannels", {})
    connection = sqlite3.connect(file)
    assert connection.execute("PRAGMA user_version").fetchone() == (FORMAT,)
    assert connection.execute("SELECT count(*) FROM buckets").fetchone() == (1,)
    connection.close()
