"""Those who are told what the controller does."""

from __future__ import annotations

from reconciler.errors import AwsError
from reconciler.gitops.state import RepositoryState, Run, TargetState


class Nobody:
    """Hears and forgets; for a single pass."""

    def counted(self, stack: str, target: str, operation: str, error: AwsError | None) -> None:
        """Take one request."""

    def ran(self, before: TargetState, after: TargetState, run: Run) -> None:
        """Take one look."""

    def fetched(self, repository: RepositoryState) -> None:
        """Take one attempt to fetch."""
