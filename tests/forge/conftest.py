"""A forge to talk to, and the environments of runs in CI."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.forge.forge import Forge, forge_server


@pytest.fixture
def forge() -> Iterator[Forge]:
    """Serve a forge on loopback."""
    with forge_server() as served:
        yield served
