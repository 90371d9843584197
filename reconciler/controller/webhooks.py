"""The forges whose webhooks trigger a fetch: one row per forge, for options, settings, environment variables and routes."""

from __future__ import annotations

from typing import NamedTuple


class Webhook(NamedTuple):
    """How a forge authenticates its webhooks.

    ``credential`` is the forge's word for the shared secret. ``header`` contains it, or with ``signed`` the HMAC-SHA256 of the body.
    """

    forge: str
    title: str
    credential: str
    header: str
    signed: bool

    @property
    def what(self) -> str:
        """The credential's name in messages."""
        return f"{self.title} webhook {self.credential}"

    @property
    def option(self) -> str:
        """The command-line option for the file of the credential."""
        return f"{self.forge}-{self.credential}-file"

    @property
    def setting(self) -> str:
        """The key below ``webhooks:`` in the settings file."""
        return f"{self.forge}{self.credential.capitalize()}File"

    @property
    def variable(self) -> str:
        """The environment variable of the credential, without a file."""
        return f"IVS_RECONCILER_{self.forge}_{self.credential}".upper()


WEBHOOKS = (
    Webhook("github", "GitHub", "secret", "X-Hub-Signature-256", signed=True),  # Gitea sends the same
    Webhook("gitlab", "GitLab", "token", "X-Gitlab-Token", signed=False),
)
