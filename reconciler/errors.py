"""Exceptions, exit codes, and what to install when an optional package is missing or does not work.

Errors are split by who must act: the user edits a file, an operator checks AWS, a reviewer decides, or the plan has to be run again.
A failed action of an apply is not an exception; it is an outcome in the result.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable, Iterator
from enum import IntEnum
from typing import NamedTuple, Self


class ExitCode(IntEnum):
    """The exit codes of the process; scripts rely on these numbers."""

    OK = 0
    ERROR = 1
    DIFFERENT = 2
    REFUSED = 3
    INCOMPLETE = 4
    PENDING = 5
    INTERRUPTED = 130
    TERMINATED = 143


class Terminated(KeyboardInterrupt):
    """SIGTERM, which ends a run as Ctrl-C does: locks are released."""


def stopped_by(stop: KeyboardInterrupt) -> tuple[ExitCode, str]:
    """Return the exit code and the message of a run that a signal ended."""
    code = ExitCode.TERMINATED if isinstance(stop, Terminated) else ExitCode.INTERRUPTED
    return code, str(stop.args[0]) if stop.args else "Interrupted."


def os_reason(error: OSError) -> str:
    """Return the system's text for an error in lower case, such as ``permission denied``."""
    return (error.strerror or "unknown").lower()


class Problem(NamedTuple):
    """One problem in the user's files.

    ``where`` is ``file`` or ``file:line:col``; ``address`` the resource, or empty; ``what`` is the problem and ``hint`` the fix.
    """

    where: str
    address: str
    what: str
    hint: str = ""

    def __str__(self) -> str:
        head = ": ".join(part for part in (self.where, self.address, self.what) if part)
        return f"{head}; {self.hint}" if self.hint else head


class ReconcilerError(Exception):
    """The base of every expected error. ``word`` is its code in JSON output."""

    exit_code = ExitCode.ERROR
    word = "error"


class UsageError(ReconcilerError):
    """The command line is wrong: the caller corrects it."""


class AdoptionError(UsageError):
    """Live resources that cannot be adopted as asked. ``where`` of each problem is the target, or empty."""

    def __init__(self, problems: tuple[Problem, ...]) -> None:
        self.problems = problems
        super().__init__("\n".join(map(str, problems)))

    def __reduce__(self) -> tuple[type[Self], tuple[tuple[Problem, ...]]]:
        """Return how to make it again: its text is made of the problems."""
        return type(self), (self.problems,)


class SpecError(ReconcilerError):
    """The user edits a file. Holds every problem found, in file order."""

    def __init__(self, problems: tuple[Problem, ...]) -> None:
        self.problems = problems
        # One line for each problem: names of files may contain line ends.
        super().__init__("\n".join(str(problem).replace("\n", "\\u000a") for problem in problems))


NOT_FOUND = "ResourceNotFoundException"
"""AWS's code for what does not exist, the same in all services but S3."""

UNREADABLE = "UnreadableAnswer"
"""Our code for an answer that lacks what it must have: what happened is unknown."""


THROTTLES = frozenset(
    {
        "ThrottlingException",
        "Throttling",
        "ThrottledException",
        "TooManyRequestsException",
        "RequestLimitExceeded",
        "RequestThrottled",
        "SlowDown",
        "TooManyUpdates",
    }
)
"""Error codes of throttled calls: the first is that of IVS (status 429), the last that of Parameter Store."""


class AwsError(ReconcilerError):
    """AWS, or the connection to it, refused or failed.

    ``code`` is AWS's own error code, or a short word of ours for failures below HTTP (``ConnectionError``, ``ReadTimeout``, ``NoCredentials``).
    ``ambiguous`` says that the request may have been carried out although no answer came.
    ``retryable`` says that the same call may succeed later.
    ``calls`` counts the requests that were sent before giving up. ``service`` is the IAM prefix of the service called.
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
        service: str = "ivs",
    ) -> None:
        self.service = service
        self.operation = operation
        self.code = code
        self.status = status
        self.request_id = request_id
        self.retryable = retryable
        self.ambiguous = ambiguous
        self.calls = calls
        super().__init__(message)

    @property
    def throttled(self) -> bool:
        """Whether the call was throttled, and so not executed."""
        return self.status == 429 or self.code in THROTTLES

    @property
    def unavailable(self) -> bool:
        """Whether AWS answered with a server error or not at all, so that the same call may succeed later."""
        return self.retryable and not self.throttled


class PublishError(ReconcilerError):
    """A report or notification could not be delivered; the work itself is done. ``ambiguous`` says that it may have arrived."""

    def __init__(self, message: str, *, ambiguous: bool = False) -> None:
        self.ambiguous = ambiguous
        super().__init__(message)


class ForgeError(PublishError):
    """A forge, or the connection to it, refused or failed. ``status`` is the HTTP status, 0 without an answer."""

    def __init__(self, message: str, *, status: int = 0) -> None:
        self.status = status
        super().__init__(message, ambiguous=status == 0 or status >= 500)


class ForgeRefused(ForgeError):
    """The forge accepts the token and does not let it write, as for pull requests from forks. Nothing was changed."""

    exit_code = ExitCode.REFUSED


class PlanRefused(ReconcilerError):
    """Refused until someone decides: a guardrail, a protected resource, a live channel. Nothing was changed."""

    exit_code = ExitCode.REFUSED
    word = "refused"


class LockHeld(PlanRefused):
    """Another run holds the target's lock: wait, or release it. Nothing was changed."""

    word = "locked"


class StalePlan(PlanRefused):
    """Live state or the spec changed since the plan was created, or the plan was applied before: run plan again."""

    word = "stale"

    @classmethod
    def because(cls, changed: Iterable[str]) -> Self:
        """Return the error for a saved plan, with a line for each thing that changed."""
        lines = (f"  {line}" for line in changed)
        return cls("\n".join(["Saved plan is stale. Changed since it was created:", *lines, "Run plan again."]))


@contextlib.contextmanager
def imports_of(what: str, extra: str) -> Iterator[None]:
    """Import modules that need an optional package; ``what`` needs it, such as ``run``.

    Raises ``UsageError`` with the extra to install for any failure: a package that is missing, incomplete, too old or broken.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        if (error.name or "").startswith("reconciler"):
            raise
        raise UsageError(f"{what} needs the package {error.name}, which is not installed; {_install(extra)}") from None
    except Exception as error:  # a package may fail in any way while it is imported
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise UsageError(
            f"{what} cannot load its packages ({type(error).__name__}: {reason}); {_install(extra)}"
        ) from error


def internal_error(error: BaseException) -> str:
    """Return a message for an unexpected exception: its type and place, without its text, which may contain anything."""
    at = error.__traceback__
    while at is not None and at.tb_next is not None:
        at = at.tb_next
    place = f" at {os.path.basename(at.tb_frame.f_code.co_filename)}:{at.tb_lineno}" if at else ""  # noqa: PTH119 - quick to import
    return f"internal error ({type(error).__name__}{place}); please report it"


def _install(extra: str) -> str:
    return f'install the extra: pip install "ivs-reconciler[{extra}]"'
