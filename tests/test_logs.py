from __future__ import annotations

import io
import json
import logging
import subprocess
import sys
from collections.abc import Iterator

import pytest
from structlog.contextvars import bound_contextvars

from reconciler import logs


@pytest.fixture(autouse=True)
def _quiet_again() -> Iterator[None]:
    yield
    logs.configure()


def lines(stream: io.StringIO) -> list[dict[str, object]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_a_line_is_json_where_there_is_no_terminal() -> None:
    stream = io.StringIO()
    logs.configure("auto", 1, stream=stream)
    logs.get("apply").info("step", operation="CreateChannel", request_id="r-1", seconds=0.2)
    (line,) = lines(stream)
    assert line.pop("timestamp")
    assert line == {
        "event": "step",
        "level": "info",
        "component": "apply",
        "operation": "CreateChannel",
        "request_id": "r-1",
        "seconds": 0.2,
    }


def test_a_console_line_is_for_people() -> None:
    stream = io.StringIO()
    logs.configure("console", 1, stream=stream)
    logs.get("apply").info("step", operation="CreateChannel")
    assert "operation=CreateChannel" in stream.getvalue()
    assert not stream.getvalue().startswith("{")


@pytest.mark.parametrize(
    ("verbosity", "said"), [(0, ["w", "e"]), (1, ["i", "w", "e"]), (2, ["d", "i", "w", "e"]), (9, ["d", "i", "w", "e"])]
)
def test_verbosity_chooses_the_levels(verbosity: int, said: list[str]) -> None:
    stream = io.StringIO()
    logs.configure("json", verbosity, stream=stream)
    room = logs.get("x")
    room.debug("d")
    room.info("i")
    room.warning("w")
    room.error("e")
    assert [line["event"] for line in lines(stream)] == said


def test_what_looks_like_a_secret_is_masked_at_any_depth() -> None:
    stream = io.StringIO()
    logs.configure("json", 1, stream=stream)
    logs.get("x").info(
        "answer",
        value="sk_1",
        authorization="AWS4 sk_2",
        session_token="sk_3",
        publicKeyMaterial="PEM",
        nested={"srt": {"passphrase": "sk_4", "endpoint": "e"}, "streamKeys": [{"value": "sk_5", "arn": "a"}]},
    )
    assert "sk_" not in stream.getvalue()
    (line,) = lines(stream)
    assert line["publicKeyMaterial"] == "PEM"
    assert line["nested"] == {
        "srt": {"passphrase": "***", "endpoint": "e"},
        "streamKeys": [{"value": "***", "arn": "a"}],
    }


def test_an_unknown_format_is_refused() -> None:
    with pytest.raises(ValueError, match="xml"):
        logs.configure("xml")


def test_nothing_is_attached_to_the_standard_loggers() -> None:
    handlers = list(logging.getLogger().handlers)
    stream = io.StringIO()
    logs.configure("json", 2, stream=stream)
    logging.getLogger("botocore").setLevel(logging.DEBUG)
    try:
        logs.get("x").info("written")
        logging.getLogger("botocore.parsers").debug("Response body: sk_us-west-2_secret")
    finally:
        logging.getLogger("botocore").setLevel(logging.NOTSET)
    assert logging.getLogger().handlers == handlers
    assert len(lines(stream)) == 1


def test_structlog_is_loaded_only_when_a_line_is_written() -> None:
    script = (
        "import sys; from reconciler import logs; logs.configure('json', 0); logs.get('x').info('not written'); quiet = 'structlog' in sys.modules;"
        "logs.get('x').error('written'); print(quiet, 'structlog' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False True"
    assert json.loads(done.stderr)["event"] == "written"


def test_facts_stand_on_every_line_inside_and_on_none_after() -> None:
    stream = io.StringIO()
    logs.configure("json", 1, stream=stream)
    with bound_contextvars(plan="p-1", target="dev"):
        with bound_contextvars(target="prod"):
            logs.get("apply").info("inner")
        logs.get("apply").info("outer", target="own")
    logs.get("apply").info("after")
    assert [(line["event"], line.get("plan"), line.get("target")) for line in lines(stream)] == [
        ("inner", "p-1", "prod"),
        ("outer", "p-1", "own"),
        ("after", None, None),
    ]
