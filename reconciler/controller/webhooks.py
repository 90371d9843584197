"""The forges whose webhooks make the controller fetch: one row a forge, for options, settings, environment and routes alike."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Webhook:
    """How a forge proves that a webhook is its own.

    ``credential`` is what the forge calls what both sides know. ``header`` carries it, or, where ``signed``, the HMAC-SHA256 of the body made with it.
    """

    forge: str
    title: str
    credential: str
    header: str
    signed: bool

    @property
    def what(self) -> str:
        """The credential's name in messages."""
        return f"{self.credential} of {self.title}'s webhook"

    @property
    def option(self) -> str:
        """The command-line option that names the file of the credential."""
        return f"{self.forge}-{self.credential}-file"

    @property
    def setting(self) -> str:
        """The same, below ``webhooks:`` in the settings file."""
        return f"{self.forge}{self.credential.capitalize()}File"

    @property
    def variable(self) -> str:
        """The environment variable that holds the credential where no file is named."""
        return f"IVS_RECONCILER_{self.forge}_{self.credential}".upper()


WEBHOOKS = (
    Webhook("github", "GitHub", "secret", "X-Hub-Signature-256", signed=True),  # Gitea sends the same
    Webhook("gitlab", "GitLab", "token", "X-Gitlab-Token", signed=False),
)
