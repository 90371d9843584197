"""Whether a request may be listened to: webhook signatures and bearer tokens, compared in constant time.

A webhook only says that it is worth asking the forge now, so nothing in its body is believed or even read.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Mapping


def github_signed(headers: Mapping[str, str], body: bytes, secret: str) -> bool:
    """Whether GitHub (or who speaks like it, such as Gitea) signed the body with our secret."""
    wanted = "sha256=" + hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()
    return bool(secret) and _same(headers.get("x-hub-signature-256", ""), wanted)


def gitlab_known(headers: Mapping[str, str], token: str) -> bool:
    """Whether the request carries the token that GitLab was given."""
    return bool(token) and _same(headers.get("x-gitlab-token", ""), token)


def bearer_known(headers: Mapping[str, str], token: str) -> bool:
    """Whether the request carries our bearer token."""
    scheme, _, given = headers.get("authorization", "").partition(" ")
    return bool(token) and scheme.lower() == "bearer" and _same(given.strip(), token)


def _same(given: str, wanted: str) -> bool:
    # Digests first, so that neither content nor length shows in the time it takes, and any character may stand in a header.
    return hmac.compare_digest(
        hashlib.sha256(given.encode("utf-8", "surrogatepass")).digest(), hashlib.sha256(wanted.encode()).digest()
    )
