"""Work for executors, beside the tests because a worker imports it: with their imports each would take four times the CPU time to start."""

from __future__ import annotations

import os
import signal
import time
from dataclasses import dataclass
from pathlib import Path

from reconciler.errors import AdoptionError, AwsError, Problem
from reconciler.executors import Control, Task
from reconciler.model.resource import DesiredState
from reconciler.model.target import Guardrails, Project, Target
from reconciler.plan.plan import PlanOptions
from tests.builders import REGION


def tasks(*names: str) -> list[Task]:
    targets = [Target(name, REGION, account_id=str(number)) for number, name in enumerate(names)]
    return [
        Task(
            Project("p", "/", "s", (), {}, {}, (), {target.name: target}, Guardrails()),
            target,
            DesiredState("s", {}, ""),
            PlanOptions(),
        )
        for target in targets
    ]


def worked(task: Task, control: Control) -> str:
    """Work that depends on the name of its target."""
    match task.target.name:
        case "fails":
            raise AwsError("no", code="Denied", request_id="r1")
        case "unadoptable":
            raise AdoptionError((Problem("file", "channel/a", "is taken"),))
        case "dies":
            os.kill(os.getpid(), signal.SIGKILL)
        case "waits":
            assert control.stop.wait(60)
            return "stopped"
        case "overflows":
            raise OSError(24, "too many open files")
        case "mistaken":
            raise ZeroDivisionError("a mistake")
    return f"{task.target.name} done"


@dataclass(frozen=True)
class Slow:
    """Work that waits until it is asked to stop, and ends then or does not; it leaves files."""

    folder: Path

    def __call__(self, task: Task, control: Control) -> str:
        (self.folder / "pid").write_text(str(os.getpid()))
        assert control.stop.wait(60)
        if task.target.name == "stubborn":
            time.sleep(600)
        (self.folder / "ended").touch()
        return "too late"


@dataclass(frozen=True)
class Together:
    """Work that ends once so many tasks have begun; it leaves files."""

    folder: Path
    count: int

    def __call__(self, task: Task, control: Control) -> str:
        (self.folder / task.target.name).touch()
        while len(list(self.folder.iterdir())) < self.count and not control.stop.is_set():
            time.sleep(0.01)
        return f"{task.target.name} done"


@dataclass(frozen=True)
class DiesWhenStopped:
    """Work whose first worker dies when it is asked to stop."""

    folder: Path

    def __call__(self, _task: Task, control: Control) -> str:
        assert control.stop.wait(60)
        if not (self.folder / "died").exists():
            (self.folder / "died").touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return "stopped"
