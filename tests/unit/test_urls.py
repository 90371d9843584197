"""URLs as they are shown: without user names, passwords, queries and fragments, with anything in them."""

from __future__ import annotations

import pytest

from reconciler.terminal import mask_urls


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("https://github.com/acme/live.git", "https://github.com/acme/live.git"),
        ("https://CANARY@github.com/acme/live", "https://github.com/acme/live"),
        ("https://user:CANARY@github.com/acme/live", "https://github.com/acme/live"),
        ("https://user:CAN/ARY@github.com/acme/live", "https://github.com/acme/live"),
        ("https://user:CAN/A@RY/x@github.com/acme/live", "https://github.com/acme/live"),
        ("https://user:CAN?ARY@github.com/acme/live", "https://***"),
        ("https://user:CAN#ARY@github.com/acme/live", "https://***"),
        ("https://host/x?token=CANARY", "https://host/x"),
        ("https://host/x?token=CAN@ARY", "https://***"),
        ("https://host/x#CANARY", "https://host/x"),
        ("ssh://git@host:22/x", "ssh://host:22/x"),
        ("git@host:acme/live.git", "git@host:acme/live.git"),
        ("user:CANARY@host:acme/live.git", "host:acme/live.git"),
        ("/srv/repo?x", "/srv/repo?x"),
        ("http://[::1]:8080", "http://[::1]:8080"),
    ],
)
def test_a_url_is_shown_without_secrets(url: str, shown: str) -> None:
    assert mask_urls(url) == shown
    if "://" in url:
        text = mask_urls(f"fatal: unable to access '{url}': and (see {url}).")
        assert text == f"fatal: unable to access '{shown}': and (see {shown})."
        assert "CAN" not in text
        assert "ARY" not in text
