"""The exception tree and the exit codes.

Errors are split by who must act, not by the module that noticed: the user edits a file, an operator looks at AWS, a reviewer decides, or somebody plans again.
A failed action of an apply is not an exception; it is an outcome in the result.
This module imports nothing of the project: marks, addresses and operations enter it as text.
"""

from __future__ import annotations

from enum import IntEnum
from typing import NamedTuple


class ExitCode(IntEnum):
    """What the process tells its caller; scripts rely on these numbers."""

    OK = 0
    ERROR = 1
    DIFFERENT = 2
    REFUSED = 3
    INCOMPLETE = 4
    PENDING = 5
    INTERRUPTED = 130
    TERMINATED = 143


class Terminated(KeyboardInterrupt):
    """SIGTERM, which stops a run as Ctrl-C does: what is held is let go, such as a lock."""


def stopped_by(stop: KeyboardInterrupt) -> tuple[ExitCode, str]:
    """Return the exit code of a run that a signal ended, and what there is to say."""
    code = ExitCode.TERMINATED if isinstance(stop, Terminated) else ExitCode.INTERRUPTED
    return code, str(stop.args[0]) if stop.args else "stopped; nothing more was started"


class Problem(NamedTuple):
    """One thing wrong with what the user wrote.

    ``where`` is ``file`` or ``file:line:col``; ``address`` is the resource meant, or empty; ``what`` says what is wrong and ``hint`` what to do about it.
    """

    where: str
    address: str
    what: str
    hint: str = ""

    def __str__(self) -> str:
        head = ": ".join(part for part in (self.where, self.address, self.what) if part)
        return f"{head}; {self.hint}" if self.hint else head


class ReconcilerError(Exception):
    """The root of every error this program raises on purpose. ``word`` tells programs which sort it is."""

    exit_code = ExitCode.ERROR
    word = "error"


class UsageError(ReconcilerError):
    """The command line asks for something that cannot be: the caller corrects the call."""


class SpecError(ReconcilerError):
    """The user edits a file. Holds every problem found, in file order."""

    def __init__(self, problems: tuple[Problem, ...]) -> None:
        self.problems = problems
        super().__init__("\n".join(str(problem) for problem in problems))


class AwsError(ReconcilerError):
    """AWS, or the way to it, refused or failed.

    ``code`` is AWS's own error code, or a short word of ours for failures below HTTP (``ConnectionError``, ``ReadTimeout``, ``NoCredentials``).
    ``ambiguous`` says that the request may have been carried out although no answer came.
    ``retryable`` says that the same call may succeed later.
    ``calls`` counts the requests that were sent before giving up.
    """

    def __init__(
        self,
        message: str,
        *,
        operation: str = "",
        code: str = "",
        status: int = 0,
        request_id: str = "",
        retryable: bool = False,
        ambiguous: bool = False,
        calls: int = 1,
    ) -> None:
        self.operation = operation
        self.code = code
        self.status = status
        self.request_id = request_id
        self.retryable = retryable
        self.ambiguous = ambiguous
        self.calls = calls
        super().__init__(message)


class PublishError(ReconcilerError):
    """What was to be published was not; the work itself stands. ``ambiguous`` says that it may have arrived all the same."""

    def __init__(self, message: str, *, ambiguous: bool = False) -> None:
        self.ambiguous = ambiguous
        super().__init__(message)


class ForgeError(PublishError):
    """A forge, or the way to it, refused or failed. ``status`` is the HTTP status, 0 where there was no answer."""

    def __init__(self, message: str, *, status: int = 0) -> None:
        self.status = status
        super().__init__(message, ambiguous=status == 0 or status >= 500)


class ForgeRefused(ForgeError):
    """The forge knows who asks and does not let them write, as it is with pull requests from forks. Nothing was changed."""

    exit_code = ExitCode.REFUSED


class PlanRefused(ReconcilerError):
    """A person decides: a guardrail, a protected resource, a live channel. Nothing was changed."""

    exit_code = ExitCode.REFUSED
    word = "refused"


class LockHeld(PlanRefused):
    """Somebody else applies to the target now: wait, or release the lock. Nothing was changed."""

    word = "locked"


class StalePlan(PlanRefused):
    """Live state or the spec moved since the plan was made, or the plan was applied before: plan again."""

    word = "stale"
