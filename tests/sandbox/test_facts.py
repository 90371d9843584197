"""Each fact about the service with its section number, as a case file: what is asked, what is answered (IVS facts 0.5 to 15)."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from reconciler.sandbox import Sandbox, VirtualClock
from reconciler.sandbox import model as service_model
from reconciler.sandbox.wire import Response
from tests.builders import LOADER
from tests.sandbox.helpers import FINGERPRINT, PUBLIC_KEY, request_for

CASES = [
    (path.stem, case)
    for path in sorted((Path(__file__).parents[1] / "cases" / "sandbox").glob("*.yaml"))
    for case in yaml.load_all(path.read_text(encoding="utf-8"), LOADER)
    if case
]
MODEL = service_model.load()
# Sections about behaviour that a server shows; the rest is about clients, prices, regions of endpoints and sources.
SECTIONS = [
    "0.5",
    "1.1",
    "1.2",
    "1.3",
    "1.4",
    "1.5",
    "1.6",
    "1.7",
    "1.8",
    "1.9",
    "2.1",
    "2.2",
    "2.3",
    "2.4",
    "2.6",
    "3.1",
    "3.2",
    "3.3",
    "3.4",
    "4.1",
    "4.2",
    "5",
    "6.1",
    "6.2",
    "6.3",
    "7",
    "8",
    "9.1",
    "9.2",
    "9.3",
    "9.4",
    "10.1",
    "13",
]
# Unknowns that a server cannot show: what a client does about it, or what only the real service does.
NOT_SHOWN = {44, 45, 46}
STEP_WORDS = {"control", "account", "region", "error", "status", "message", "is", "lacks", "keep", "size", "headers"}


class Runner:
    """Plays the steps of one case against a sandbox of its own."""

    def __init__(self, case: dict[str, Any]) -> None:
        self.clock = VirtualClock()
        self.sandbox = Sandbox(
            serve=False, clock=self.clock, seed=5, settle_seconds=10, stop_seconds=3, **case.get("with", {})
        )
        self.kept: dict[str, Any] = {"key": PUBLIC_KEY, "fingerprint": FINGERPRINT}

    def filled(self, value: Any) -> Any:
        """Put what was kept in the place of $names; {repeat: x, times: n} is a long list or text."""
        if isinstance(value, dict) and set(value) == {"repeat", "times"}:
            return self.filled(value["repeat"]) * value["times"]
        if isinstance(value, dict):
            return {self.filled(key): self.filled(each) for key, each in value.items()}
        if isinstance(value, list):
            return [self.filled(each) for each in value]
        if isinstance(value, str) and value.startswith("$"):
            return self.kept[value[1:]]
        if isinstance(value, str):
            return re.sub(r"\$\{(\w+)\}", lambda found: str(self.kept[found[1]]), value)
        return value

    def step(self, step: dict[str, Any]) -> None:
        if "control" in step:
            for name, arguments in step["control"].items():
                result = getattr(self.sandbox.control, name)(**self.filled(arguments or {}))
                self.check(step, result)
            return
        (operation,) = (word for word in step if word not in STEP_WORDS)
        answer = self.ask(
            operation,
            self.filled(step[operation] or {}),
            step.get("account", "123456789012"),
            step.get("region", "us-west-2"),
        )
        body = json.loads(answer.body or b"{}")
        headers = dict(answer.headers)
        told = f"{operation}: {answer.status} {answer.body.decode()[:400]}"
        assert headers.get("x-amzn-ErrorType") == step.get("error"), told
        expected = (
            MODEL.errors[step["error"]] if step.get("error") in MODEL.errors else MODEL.operations[operation].status
        )
        assert answer.status == step.get("status", expected), told
        if "message" in step:
            assert body["message"] == body["exceptionMessage"]
            assert re.search(self.filled(step["message"]), body["message"]), told
        for name, value in step.get("headers", {}).items():
            assert re.fullmatch(value, headers[name]), headers
        self.check(step, body)

    def ask(self, operation: str, members: dict[str, Any], account: str, region: str) -> Response:
        return self.sandbox.handle(request_for(MODEL.operations[operation], members, account, region))

    def check(self, step: dict[str, Any], found: Any) -> None:
        for path, wanted in step.get("is", {}).items():
            value, expected = at(found, path), self.filled(wanted)
            if isinstance(expected, str) and expected.startswith("~"):
                assert re.fullmatch(expected[1:], value), (path, value)
            else:
                assert value == expected, (path, value)
        for path in step.get("lacks", []):
            above, _, member = path.rpartition(".")
            assert member not in at(found, above), path
        for path, count in step.get("size", {}).items():
            assert len(at(found, path)) == count, path
        for name, path in step.get("keep", {}).items():
            self.kept[name] = at(found, path)


def at(found: Any, path: str) -> Any:
    """The value at a dotted path; numbers are places in lists; the empty path is all of it."""
    for part in path.split(".") if path else ():
        found = found[int(part)] if isinstance(found, list) else found[part]
    return found


@pytest.mark.parametrize(("file", "case"), CASES, ids=[f"{case['fact']}" for _, case in CASES])
def test_the_sandbox_does_as_the_fact_says(file: str, case: dict[str, Any]) -> None:
    assert set(case) <= {"fact", "with", "steps"}, file
    runner = Runner(case)
    try:
        for step in case["steps"]:
            runner.step(step)
    finally:
        runner.sandbox.stop()


def test_every_section_that_a_server_can_show_has_a_case() -> None:
    sections = {case["fact"].split()[0].rstrip(",") for _, case in CASES}
    assert set(SECTIONS) - sections == set()


def test_every_unknown_of_the_service_has_a_case_for_the_answer_chosen() -> None:
    rows = {int(found) for _, case in CASES for found in re.findall(r"\b15#(\d+)", case["fact"])}
    assert set(range(1, 47)) - NOT_SHOWN - rows == set()
