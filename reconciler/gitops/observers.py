"""Those who are told what the controller does."""

from __future__ import annotations

from typing import Protocol

from reconciler.errors import AwsError
from reconciler.gitops.controller import Observer
from reconciler.gitops.state import RepositoryState, Run, TargetState
from reconciler.pipeline.notify import Telling


class Everyone(Observer, Protocol):
    """Is told of everything that is counted; the two below from any thread."""

    def counted(self, stack: str, target: str, operation: str, error: AwsError | None) -> None:
        """Take one request to AWS."""

    def told(self, stack: str, telling: Telling) -> None:
        """Take one notification that was sent, or was not."""


class Nobody:
    """Hears and forgets; for a single pass."""

    def counted(self, stack: str, target: str, operation: str, error: AwsError | None) -> None:
        """Take one request."""

    def ran(self, before: TargetState, after: TargetState, run: Run) -> None:
        """Take one look."""

    def fetched(self, repository: RepositoryState) -> None:
        """Take one attempt to fetch."""

    def told(self, stack: str, telling: Telling) -> None:
        """Take one notification."""
