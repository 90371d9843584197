"""Rotation as a user has it: by label, on request, to stores and files, interrupted anywhere, live, refused; and no value in anything that is said."""

from __future__ import annotations

import json
import subprocess
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from reconciler.apply import Event, StepFinished
from reconciler.aws.stores import SecretPublisher
from reconciler.model.address import DELIVERED, Address
from reconciler.model.resource import DesiredState
from reconciler.model.target import Sink, Store
from reconciler.plan.decision import NOTHING, Rotate
from reconciler.plan.plan import PlanOptions, Result
from reconciler.workflow.survey import Survey, plan_target
from tests.builders import desired, wanted
from tests.cli.support import arn_of, outside, rewrite, run, stack
from tests.reliability.world import HERE, Screen, World, one_world

TO_PARAMETER = {"parameterStore": {"name": "/ivs/{stack}/{target}/{id}"}}


def held(folder: Path) -> dict[str, str]:
    """Return what the file that plays the stores of the sandbox holds."""
    values: dict[str, str] = json.loads((folder / ".sandbox" / "dev.db.sinks.json").read_text(encoding="utf-8"))
    return values


def value_of(folder: Path, name: str) -> str:
    with outside(folder) as (ivs, _):
        (key,) = ivs.list_stream_keys(channelArn=arn_of(ivs, name))["streamKeys"]
        return str(ivs.get_stream_key(arn=key["arn"])["streamKey"]["value"])


def made(folder: Path) -> int:
    with outside(folder) as (_, sandbox):
        return sum(call["operation"] == "CreateStreamKey" for call in sandbox.control.calls(limit=1000))


def test_a_changed_label_makes_a_new_key_and_its_value_arrives(tmp_path: Path) -> None:
    spec: dict[str, Any] = {"channels": {"a": {"streamKey": {"rotation": "1"}}, "b": {"streamKey": {"sink": None}}}}
    folder = stack(tmp_path / "repo", spec, defaults={"streamKey": {"sink": TO_PARAMETER}})
    assert run(folder, "apply", "--auto-approve").code == 0
    before = value_of(folder, "a")
    assert held(folder) == {"parameterStore:/ivs/acme-live/dev/a": before}
    rewrite(folder, {"channels": {"a": {"streamKey": {"rotation": "2"}}, "b": {"streamKey": {"sink": None}}}})
    said = run(folder, "drift")
    assert (said.code, "the spec changed" in said.out) == (5, True)
    assert run(folder, "apply", "--auto-approve").code == 0
    after = value_of(folder, "a")
    assert before != after
    assert held(folder) == {"parameterStore:/ivs/acme-live/dev/a": after}
    assert run(folder, "plan", "--detailed-exitcode").code == 0
    assert run(folder, "drift").code == 0


def test_adopted_keys_keep_their_values_and_one_label_rotates_all_of_them(tmp_path: Path) -> None:
    """What the hand-over from Terraform says: its state has the values of the keys."""
    folder = stack(tmp_path / "repo", {"channels": {"a": {}, "b": {}}})
    assert run(folder, "apply", "--auto-approve").code == 0
    theirs = {name: value_of(folder, name) for name in "ab"}
    rewrite(folder, {"channels": {"a": {"streamKey": {}}, "b": {"streamKey": {}}}})
    assert run(folder, "apply", "--auto-approve").code == 0
    assert {name: value_of(folder, name) for name in "ab"} == theirs
    project = folder / "ivs-reconciler.yaml"
    project.write_text(
        project.read_text(encoding="utf-8") + 'defaults: {streamKey: {rotation: "1"}}\n', encoding="utf-8"
    )
    assert run(folder, "apply", "--auto-approve").code == 0
    assert all(value_of(folder, name) != theirs[name] for name in "ab")
    assert run(folder, "plan", "--detailed-exitcode").code == 0


def test_a_sink_for_json_is_kept_up_to_date_and_the_form_can_be_changed(tmp_path: Path) -> None:
    place = "parameterStore:/ivs/acme-live/dev/a"

    def spec(**more: object) -> dict[str, Any]:
        return {"channels": {"a": {"streamKey": {"sink": {**TO_PARAMETER, **more}}}}}

    folder = stack(tmp_path / "repo", spec(value="json"))
    said = [run(folder, "apply", "--auto-approve", "--format", "json")]
    with outside(folder) as (ivs, _):
        endpoint = ivs.get_channel(arn=arn_of(ivs, "a"))["channel"]["ingestEndpoint"]
    url = f"rtmps://{endpoint}:443/app/"
    values = [value_of(folder, "a")]
    assert {name: json.loads(text) for name, text in held(folder).items()} == {place: {"url": url, "key": values[0]}}
    said.append(run(folder, "outputs", "--format", "json"))
    assert '"storedIn": "arn:aws:ssm:us-west-2:123456789012:parameter/ivs/acme-live/dev/a"' in said[-1].out
    said.append(run(folder, "rotate", "stream-key", "channel/a", "--auto-approve", "-v"))
    values.append(value_of(folder, "a"))
    assert values[1] != values[0]
    assert json.loads(held(folder)[place]) == {"url": url, "key": values[1]}
    # The same key in another form, and in a file of its own.
    rewrite(folder, spec())
    said.append(run(folder, "plan"))
    assert "its value is published to the parameter /ivs/acme-live/dev/a" in said[-1].out
    said.append(run(folder, "apply", "--auto-approve", "-v"))
    assert value_of(folder, "a") == values[1] == held(folder)[place]
    file = tmp_path / "key.json"
    words = ("rotate", "stream-key", "channel/a", "--auto-approve", "--to-file", str(file), "--value", "json")
    said.append(run(folder, *words))
    values.append(value_of(folder, "a"))
    assert json.loads(file.read_text(encoding="utf-8")) == {"url": url, "key": values[2]}
    assert held(folder)[place] == values[2]
    said.append(run(folder, "plan", "--detailed-exitcode"))
    assert [ran.code for ran in said] == [0] * len(said), said
    assert not any(value in ran.out + ran.err for value in values for ran in said)
    refused = run(folder, "rotate", "stream-key", "channel/a", "--value", "json")
    assert (refused.code, "--value needs --to-file PATH" in refused.err) == (1, True)


def test_a_rotation_that_is_asked_for_touches_nothing_else(tmp_path: Path) -> None:
    folder = stack(tmp_path / "repo", {"channels": {"a": {"streamKey": {"sink": TO_PARAMETER}}, "b": {}}})
    run(folder, "apply", "--auto-approve")
    before = value_of(folder, "a")
    rewrite(
        folder,
        {"channels": {"a": {"streamKey": {"sink": TO_PARAMETER}, "latencyMode": "NORMAL"}, "b": {"tags": {"x": "y"}}}},
    )
    ran = run(folder, "rotate", "stream-key", "channel/a", "--auto-approve")
    assert ran.code == 0, ran.err
    assert "2 other actions are due" in ran.out
    assert held(folder)["parameterStore:/ivs/acme-live/dev/a"] == value_of(folder, "a") != before
    with outside(folder) as (ivs, _):
        assert ivs.get_channel(arn=arn_of(ivs, "a"))["channel"]["latencyMode"] == "LOW"


def test_without_a_terminal_or_a_yes_nothing_is_rotated(tmp_path: Path) -> None:
    folder = stack(tmp_path / "repo", {"channels": {"a": {"streamKey": {}}}})
    run(folder, "apply", "--auto-approve")
    ran = run(folder, "rotate", "stream-key", "stream-key/a")
    assert (ran.code, made(folder)) == (3, 0)
    assert ran.err == "cannot prompt for approval: no terminal. Use --auto-approve\n"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["stream-key/zz"], "stream-key/zz: the spec has no channel/zz"),
        (["stream-key/b"], "has no streamKey in the spec; add streamKey: {}"),
        (["playback-key-pair/x"], "playback-key-pair/x is not a stream key"),
        (["a"], "'a' is not an address"),
        (["stream-key/a", "stream-key/c", "--to-file", "x"], "--to-file takes one key"),
        (["stream-key/a", "--to-file", "specs/live.yaml"], "already exists and is not overwritten"),
        (["stream-key/a", "--to-file", "nowhere/x"], "no such directory"),
        (["stream-key/c"], "its channel is not created yet"),
    ],
)
def test_what_cannot_be_is_said_before_any_key_is_touched(tmp_path: Path, words: list[str], said: str) -> None:
    folder = stack(tmp_path / "repo", {"channels": {"a": {"streamKey": {}}, "b": {}}})
    run(folder, "apply", "--auto-approve")
    rewrite(folder, {"channels": {"a": {"streamKey": {}}, "b": {}, "c": {"streamKey": {}}}})
    ran = run(folder, "rotate", "stream-key", *words, "--auto-approve")
    assert (ran.code, made(folder)) == (1, 0)
    assert said in ran.err


def test_a_file_gets_the_value_and_nothing_else_has_it(tmp_path: Path) -> None:
    folder = stack(tmp_path / "repo", {"channels": {"a": {"streamKey": {}}}})
    run(folder, "apply", "--auto-approve")
    path = tmp_path / "key.txt"
    ran = run(folder, "rotate", "stream-key", "stream-key/a", "--to-file", str(path), "--auto-approve", "-vv")
    value = path.read_text(encoding="utf-8").strip()
    assert (ran.code, value) == (0, value_of(folder, "a"))
    assert value not in ran.out + ran.err
    assert path.stat().st_mode & 0o777 == 0o600
    assert run(folder, "plan", "--detailed-exitcode").code == 0


def test_no_file_in_a_work_tree_that_git_would_commit(tmp_path: Path) -> None:
    folder = stack(tmp_path / "repo", {"channels": {"a": {"streamKey": {}}}})
    subprocess.run(["git", "init", "-q"], cwd=folder, check=True)
    run(folder, "apply", "--auto-approve")
    ran = run(folder, "rotate", "stream-key", "stream-key/a", "--to-file", "key.txt", "--auto-approve")
    assert (ran.code, made(folder)) == (1, 0)
    assert "not ignored" in ran.err
    (folder / ".gitignore").write_text("*.txt\n", encoding="utf-8")
    assert run(folder, "rotate", "stream-key", "stream-key/a", "--to-file", "key.txt", "--auto-approve").code == 0
    assert (folder / "key.txt").exists()


def test_the_key_of_a_live_channel_is_not_rotated_unless_asked(tmp_path: Path) -> None:
    folder = stack(tmp_path / "repo", {"channels": {"a": {"streamKey": {"sink": TO_PARAMETER}}}})
    run(folder, "apply", "--auto-approve")
    with outside(folder) as (ivs, sandbox):
        sandbox.control.go_live(arn_of(ivs, "a"), viewers=3)
    ran = run(folder, "rotate", "stream-key", "stream-key/a", "--auto-approve")
    assert (ran.code, made(folder)) == (3, 0)
    assert "3 viewers" in ran.out
    assert "--even-live" in ran.out
    assert "rotate refused" in ran.err
    ran = run(folder, "rotate", "stream-key", "stream-key/a", "--auto-approve", "--even-live")
    assert (ran.code, made(folder)) == (0, 1)
    assert "the broadcast continues" in ran.out
    with outside(folder) as (ivs, _):
        assert len(ivs.list_streams()["streams"]) == 1


def test_a_store_that_refuses_leaves_the_key_waiting_and_the_next_apply_delivers(tmp_path: Path) -> None:
    folder = stack(tmp_path / "repo", {"channels": {"a": {"streamKey": {"sink": TO_PARAMETER}}}})
    run(folder, "apply", "--auto-approve")
    nowhere = {"AWS_ENDPOINT_URL_SSM": "http://127.0.0.1:9"}
    ran = run(folder, "rotate", "stream-key", "stream-key/a", "--auto-approve", "--format", "json", "-vv", env=nowhere)
    assert ran.code == 4
    assert "is not published yet: correct that, then run apply again; no other key will be created" in ran.out
    value = value_of(folder, "a")
    assert value not in ran.out + ran.err
    said = run(folder, "drift")
    assert (said.code, "no other key is created" in said.out) == (5, True)
    assert run(folder, "apply", "--auto-approve").code == 0
    assert held(folder)["parameterStore:/ivs/acme-live/dev/a"] == value
    assert made(folder) == 1


@pytest.mark.parametrize(
    ("channels", "defaults", "said"),
    [
        ({"a": {"streamKey": {"rotation": 7}}}, {}, "write it in quotes"),
        ({"a": {"streamKey": {"rotation": "é"}}}, {}, "is not a valid label"),
        (
            {"a": {"streamKey": {"sink": {}}}},
            {},
            "sink must have exactly one of secretsManager and parameterStore; set one of the two",
        ),
        (
            {"a": {"streamKey": {"sink": {"secretsManager": {"kmsKeyId": "x"}}}}},
            {},
            "secretsManager must have exactly one of name and arn; set one of the two",
        ),
        (
            {"a": {"streamKey": {"sink": {"secretsManager": {"name": "{channel}"}}}}},
            {},
            "contains the unknown placeholder {channel}",
        ),
        ({"a": {"streamKey": {"sink": {"parameterStore": {"name": "a b"}}}}}, {}, "is not a valid parameter name"),
        (
            {
                "a": {
                    "streamKey": {
                        "sink": {"secretsManager": {"arn": "arn:aws:secretsmanager:eu-west-1:123456789012:secret:x"}}
                    }
                }
            },
            {},
            "is in eu-west-1, but the target is in us-west-2",
        ),
        (
            {c: {"streamKey": {}} for c in "ab"},
            {"sink": {"secretsManager": {"name": "one"}}},
            "is also the sink of stream-key/a",
        ),
        (
            {
                "a": {"streamKey": {"sink": {"secretsManager": {"name": "one"}}}},
                "b": {"streamKey": {"sink": {"secretsManager": {"name": "one"}, "value": "json"}}},
            },
            {},
            "is also the sink of stream-key/a",
        ),
        ({"a": {"streamKey": {"sink": {"secretsManager": {"name": "x" * 236}, "value": "json"}}}}, {}, "limit of 235"),
        ({"a": {"streamKey": {"sink": {"value": "json"}}}}, {}, "exactly one of secretsManager and parameterStore"),
        ({"a": {"streamKey": {"sink": {**TO_PARAMETER, "value": "yaml"}}}}, {}, "streamKey.sink.value"),
        ({}, {"sink": {"parameterStore": {"name": "/aws/x"}}}, "ivs-reconciler.yaml:"),
        ({"a": {"streamKey": {"rotatoin": "7"}}}, {}, 'did you mean "rotation"'),
    ],
)
def test_a_spec_that_cannot_be_is_refused_with_its_place(
    tmp_path: Path, channels: dict[str, Any], defaults: dict[str, Any], said: str
) -> None:
    folder = stack(tmp_path / "repo", {"channels": channels}, defaults={"streamKey": defaults})
    ran = run(folder, "validate")
    assert ran.code == 1
    assert said in ran.out + ran.err


# Interrupted anywhere.


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    with one_world(tmp_path, seed=9) as world:
        yield world


def keys(rotation: str = "", sink: Sink | None = None) -> DesiredState:
    return desired(wanted("channel/c"), wanted("stream-key/c", rotation=rotation, sink=sink))


def surveyed(world: World, spec: DesiredState, rotate: Rotate = NOTHING) -> Survey:
    """Survey with a publisher of values, into a file that plays the stores."""
    found = world.survey(spec)
    publisher = SecretPublisher(
        found.connection.gateway, lambda service: service, sandbox=world.root / "sinks.json", sleep=world.sleep
    )
    connection = found.connection._replace(publish=publisher.publish)
    plan = plan_target(world.project, HERE, spec, found.live, PlanOptions(), connection, {}, rotate=rotate)
    return found._replace(connection=connection, plan=plan)


class Stopping(Screen):
    """Stops an apply once so many steps have ended."""

    def __init__(self, after: int, stop: threading.Event) -> None:
        super().__init__()
        self.left = after
        self.stop = stop
        self.events = _Told(self._seen)

    def _seen(self, event: Event) -> None:
        self.left -= isinstance(event, StepFinished)
        if self.left <= 0:
            self.stop.set()


class _Told(list[Event]):
    def __init__(self, tell: Callable[[Event], None]) -> None:
        super().__init__()
        self.tell = tell

    def append(self, event: Event) -> None:
        super().append(event)
        self.tell(event)


SINK = Sink(Store.SECRETS_MANAGER, "acme/c")


@pytest.mark.parametrize("asked", [False, True])
@pytest.mark.parametrize("steps", [1, 2, 3, 4])
def test_stopped_after_any_step_a_rotation_continues_and_makes_one_key(world: World, steps: int, asked: bool) -> None:
    before = keys("1", SINK)
    world.carry_out(surveyed(world, before))
    spec = before if asked else keys("2", SINK)
    rotate = Rotate(frozenset({Address.parse("stream-key/c")})) if asked else NOTHING
    stop = threading.Event()
    world.carry_out(surveyed(world, spec, rotate), stop=stop, screen=Stopping(steps, stop))
    for _ in range(2):
        # The rotation that was asked for is not repeated by an apply; the first one finishes what was begun.
        world.carry_out(surveyed(world, spec))
    assert not surveyed(world, spec).plan.actions
    (key,) = [found for found in world.everything() if ":stream-key/" in found["arn"]]
    assert key["tags"][DELIVERED] == SINK.mark
    stored = json.loads((world.root / "sinks.json").read_text(encoding="utf-8"))
    assert stored == {SINK.mark: world.client.get_stream_key(arn=key["arn"])["streamKey"]["value"]}
    assert sum(call["operation"] == "CreateStreamKey" for call in world.control.calls(limit=1000)) == 1


def test_a_key_that_is_gone_and_still_listed_is_not_taken_for_the_new_one(world: World) -> None:
    """In either order of the list: tags say which key is which."""
    world.carry_out(surveyed(world, keys("0", SINK)))
    for label in map(str, range(1, 7)):
        world.clock.advance(60)
        world.control.set_lag(delete=20)
        stop = threading.Event()
        world.carry_out(surveyed(world, keys(label, SINK)), stop=stop, screen=Stopping(2, stop))
        result = world.carry_out(surveyed(world, keys(label, SINK)))
        assert result is not None
        assert result.complete, result
        world.control.set_lag()
        assert not surveyed(world, keys(label, SINK)).plan.actions


@pytest.mark.parametrize("effect", ["reset", "error", "truncate"])
@pytest.mark.parametrize("lag", [0, 20])
def test_a_create_whose_answer_is_lost_is_found_again_and_not_the_key_that_was_deleted(
    world: World, effect: str, lag: int
) -> None:
    world.carry_out(surveyed(world, keys("1", SINK)))
    (old,) = [found["arn"] for found in world.everything() if ":stream-key/" in found["arn"]]
    world.control.set_lag(delete=lag)
    world.control.add_fault(effect, operation="CreateStreamKey", when="after")
    result = world.carry_out(surveyed(world, keys("2", SINK)))
    assert result is not None
    assert [outcome.result for outcome in result.outcomes] == [Result.DONE], result
    assert result.outcomes[0].arn != old
    world.clock.sleep(60)
    assert not surveyed(world, keys("2", SINK)).plan.actions
    (new,) = [found["arn"] for found in world.everything() if ":stream-key/" in found["arn"]]
    assert new == result.outcomes[0].arn
    assert new != old


@pytest.mark.parametrize("effect", ["truncate", "error", "html", "reset"])
def test_a_broken_answer_shows_nothing_of_the_value(world: World, effect: str) -> None:
    world.carry_out(surveyed(world, keys("1")))
    world.control.add_fault(effect, operation="GetStreamKey", when="after", times=50)
    screen = Screen()
    result = world.carry_out(surveyed(world, keys("1", SINK)), screen=screen)
    assert result is not None
    (key,) = [found for found in world.everything() if ":stream-key/" in found["arn"]]
    value = world.client.get_stream_key
    world.control.clear_faults()
    secret = value(arn=key["arn"])["streamKey"]["value"]
    assert result.outcomes[0].result is Result.FAILED
    assert "is not published yet: correct that" in result.outcomes[0].message
    said = (
        repr(result)
        + repr(screen.events)
        + "".join(path.read_text(encoding="utf-8") for path in world.root.rglob("*") if path.is_file())
    )
    assert secret not in said
    assert secret[:16] not in said


def test_a_file_that_cannot_be_written_leaves_the_key_waiting_for_another(world: World) -> None:
    spec, asked = keys(), frozenset({Address.parse("stream-key/c")})
    world.carry_out(surveyed(world, spec))
    result = world.carry_out(
        surveyed(world, spec, Rotate(asked, Sink(Store.FILE, str(world.root / "nowhere" / "key"))))
    )
    assert result is not None
    assert "repeat the rotation with another file" in result.outcomes[0].message
    assert not surveyed(world, spec).plan.actions, "no place is named, so an apply has nothing to do"
    path = world.root / "key"
    world.carry_out(surveyed(world, spec, Rotate(asked, Sink(Store.FILE, str(path)))))
    (key,) = [found for found in world.everything() if ":stream-key/" in found["arn"]]
    assert path.read_text(encoding="utf-8").strip() == world.client.get_stream_key(arn=key["arn"])["streamKey"]["value"]
    assert DELIVERED not in key["tags"]
    assert sum(call["operation"] == "CreateStreamKey" for call in world.control.calls(limit=1000)) == 1


def test_two_rotations_of_one_key_at_once_leave_one_key_and_its_value(world: World) -> None:
    world.carry_out(surveyed(world, keys("1", SINK)))
    first, second = surveyed(world, keys("2", SINK)), surveyed(world, keys("2", SINK))
    for survey in (first, second):
        result = world.carry_out(survey)
        assert result is not None
        assert result.complete, result
    (key,) = [found for found in world.everything() if ":stream-key/" in found["arn"]]
    assert key["tags"][DELIVERED] == SINK.mark
    stored = json.loads((world.root / "sinks.json").read_text(encoding="utf-8"))
    assert stored == {SINK.mark: world.client.get_stream_key(arn=key["arn"])["streamKey"]["value"]}
    assert not surveyed(world, keys("2", SINK)).plan.actions


def test_without_the_permission_to_read_values_the_key_stays_unpublished(world: World) -> None:
    world.carry_out(surveyed(world, keys("1", SINK)))
    world.control.deny("GetStreamKey")
    result = world.carry_out(surveyed(world, keys("2", SINK)))
    assert result is not None
    (outcome,) = result.outcomes
    assert outcome.result is Result.FAILED
    assert "ivs:GetStreamKey" in outcome.message
    world.control.clear_faults()
    world.carry_out(surveyed(world, keys("2", SINK)))
    assert not surveyed(world, keys("2", SINK)).plan.actions
