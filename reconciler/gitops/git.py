"""Runs git against a repository that other people write to.

Nothing of the machine's or the repository's configuration has a say: no hooks, no filters, no prompts, no redirects, one transport.
Credentials go through the environment of the one process that needs them, never through arguments, addresses or messages.
"""

from __future__ import annotations

import contextlib
import os
import re
import shlex
import signal
import subprocess
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from urllib.parse import urlsplit

from reconciler.errors import ReconcilerError, UsageError
from reconciler.gitops.secret import Secret

_SCHEMES = ("https", "http", "ssh", "file")
_SCP = re.compile(r"(?:[A-Za-z0-9._-]+@)?[A-Za-z0-9.-]+:(?!//).+")
_PASSED_ON = (
    "PATH",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
    "GIT_SSL_CAINFO",
    "HTTPS_PROXY",
    "https_proxy",
    "HTTP_PROXY",
    "http_proxy",
    "NO_PROXY",
    "no_proxy",
)
_HELPER = '!f() { test "$1" = get && printf "username=%s\\npassword=%s\\n" "$IVS_RECONCILER_GIT_USER" "$IVS_RECONCILER_GIT_TOKEN"; }; f'
_LONGEST = 400
_PATIENCE = 0.25
"""Seconds between looks at whether somebody wants to stop."""

_OLDEST = (2, 34)
"""The first git that knows ssh signatures; older ones also pass over settings given in the environment, which would leave hooks and redirects on."""


class Trouble(StrEnum):
    """What is wrong with the repository, for the status page and the metrics."""

    UNREACHABLE = "unreachable"
    NO_BRANCH = "no-branch"
    UNVERIFIED = "unverified"
    NO_PROJECT = "no-project"


class GitError(ReconcilerError):
    """Git, or the way to the repository, failed. The text holds no credential."""

    def __init__(self, message: str, trouble: Trouble = Trouble.UNREACHABLE) -> None:
        self.trouble = trouble
        super().__init__(message)


@dataclass(frozen=True, slots=True)
class Remote:
    """Where the repository is and how to get in. The token goes to git's environment and nowhere else."""

    url: str
    branch: str = "main"
    username: str = "x-access-token"
    token: Secret = field(default_factory=Secret)
    ssh_key: str = ""
    known_hosts: str = ""
    allowed_signers: str = ""


def check_remote(remote: Remote) -> None:
    """Raise ``UsageError`` for an address, a branch or credentials that cannot be used safely."""
    remote.token.read()
    scheme = scheme_of(remote.url)
    parts = urlsplit(remote.url) if "://" in remote.url else None
    if remote.url.startswith("-") or not remote.url.strip() or scheme not in _SCHEMES:
        raise UsageError(
            f"the repository {shown(remote.url)} cannot be followed; give an https or ssh address, or the path of a folder"
        )
    if parts and (parts.password is not None or (scheme in ("https", "http") and parts.username is not None)):
        raise UsageError(
            "the repository's address holds a user name or password; take it out and give the token in a file or in the environment"
        )
    if scheme == "http" and remote.token and parts and (parts.hostname or "") not in ("localhost", "127.0.0.1", "::1"):
        raise UsageError("a token would travel readable over http; give an https address")
    if re.search(r"[\x00-\x20\x7f~^:?*\[\\]|\.\.|@\{|//|^[-/.]|[/.]$|\.lock$|^$", remote.branch):
        raise UsageError(f"{remote.branch!r} is not the name of a branch")
    for name, path in (
        ("SSH key", remote.ssh_key),
        ("known hosts", remote.known_hosts),
        ("allowed signers", remote.allowed_signers),
    ):
        if path and not os.access(path, os.R_OK):
            raise UsageError(f"the file of {name}, {path}, cannot be read; name one that can")
    if scheme == "ssh" and not remote.known_hosts:
        raise UsageError(
            "an ssh repository needs the file of known hosts, so that nobody can stand in for the forge; get its line with ssh-keyscan and check it"
        )


def scheme_of(url: str) -> str:
    """Return the transport of an address: https, http, ssh, file, or whatever stands there."""
    if "://" in url:
        return urlsplit(url).scheme.lower()
    if "::" in url:
        return url.partition("::")[0]
    return "ssh" if _SCP.fullmatch(url) and not Path(url).exists() else "file"


def shown(url: str) -> str:
    """Return an address without what may be a credential."""
    return re.sub(r"//[^/@\s]*@", "//", url)


class Git:
    """Git in one bare repository, with the ways to one remote."""

    def __init__(
        self, folder: Path, remote: Remote, *, timeout: float = 120.0, stop: threading.Event | None = None
    ) -> None:
        self._stop = stop or threading.Event()
        self._checked = False
        self._folder = folder
        self._remote = remote
        self._timeout = timeout

    def run(
        self, *words: str, network: bool = False, extra: Mapping[str, str] | None = None
    ) -> subprocess.CompletedProcess[str]:
        """Run git and return what it said, whatever its exit code. ``network`` gives it the credentials. Raises ``GitError`` when it takes too long or is missing."""
        try:
            token = self._remote.token.read() if network else ""
        except UsageError as error:
            raise GitError(str(error)) from None
        environment = {**self._environment(token), **(extra or {})}
        try:
            process = subprocess.Popen(  # noqa: S603 - no shell, and every word is ours or checked
                ["git", *words],  # noqa: S607 - git is found as the operator's shell finds it
                cwd=self._folder,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
                errors="replace",
                start_new_session=True,
            )
        except OSError as error:
            raise GitError(
                f"git cannot be started ({(error.strerror or 'unknown').lower()}); install it where PATH leads"
            ) from None
        end = time.monotonic() + self._timeout
        while True:
            try:
                out, err = process.communicate(timeout=_PATIENCE)
                break
            except subprocess.TimeoutExpired:
                if time.monotonic() < end and not self._stop.is_set():
                    continue
                # Git talks to the network through children of its own; they go with it.
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
                process.communicate()
                why = (
                    "was not waited for, because the controller stops"
                    if self._stop.is_set()
                    else f"did not answer within {self._timeout:.0f} s"
                )
                raise GitError(f"{shown(self._remote.url)} {why}") from None
        return subprocess.CompletedProcess(words, process.returncode, out, _clean(err, token))

    def check(self) -> None:
        """Raise ``GitError`` where git is missing or too old to be told what not to do."""
        if self._checked:
            return
        said = self.ask("version")
        found = re.search(r"(\d+)\.(\d+)", said)
        if not found or (int(found[1]), int(found[2])) < _OLDEST:
            raise GitError(
                f"git {'.'.join(map(str, _OLDEST))} or newer is needed, and this is {said!r}; install a newer one"
            )
        self._checked = True

    def ask(self, *words: str, network: bool = False, extra: Mapping[str, str] | None = None) -> str:
        """Run git and return its output. Raises ``GitError`` with its last words when it fails."""
        done = self.run(*words, network=network, extra=extra)
        if done.returncode:
            raise GitError(f"git {words[0]} failed: {last_words(done.stderr)}")
        return done.stdout.strip()

    def _environment(self, token: str) -> dict[str, str]:
        remote = self._remote
        scheme = scheme_of(remote.url)
        config = [
            ("core.hooksPath", os.devnull),
            ("core.fsmonitor", "false"),
            ("core.symlinks", "true"),
            ("http.followRedirects", "false"),
            ("http.lowSpeedLimit", "1000"),
            ("http.lowSpeedTime", "30"),
            ("transfer.fsckObjects", "true"),
            ("fetch.recurseSubmodules", "false"),
            ("submodule.recurse", "false"),
            ("gc.autoDetach", "false"),
            ("advice.detachedHead", "false"),
            ("credential.helper", ""),
            ("gpg.program", "false"),
            ("gpg.openpgp.program", "false"),
            ("gpg.x509.program", "false"),
            # Without this, git is content with a signature by a key that nobody listed.
            ("gpg.minTrustLevel", "fully"),
        ]
        if remote.allowed_signers:
            config.append(("gpg.ssh.allowedSignersFile", str(Path(remote.allowed_signers).absolute())))
        environment = {
            **{name: os.environ[name] for name in _PASSED_ON if name in os.environ},
            "HOME": str(self._folder),
            "LANG": "C.UTF-8",
            "GIT_CONFIG_NOSYSTEM": "1",
            "GIT_CONFIG_GLOBAL": os.devnull,
            "GIT_TERMINAL_PROMPT": "0",
            "GIT_ALLOW_PROTOCOL": scheme,
            "GIT_PROTOCOL_FROM_USER": "0",
            "GIT_ASKPASS": "true",
            "SSH_ASKPASS": "true",
            "GIT_ATTR_NOSYSTEM": "1",
            "GIT_NO_REPLACE_OBJECTS": "1",
        }
        if token and scheme in ("https", "http"):
            parts = urlsplit(remote.url)
            # For this host alone: wherever else git might be led, it comes without the token.
            config.append((f"credential.{parts.scheme}://{parts.netloc}.helper", _HELPER))
            environment |= {"IVS_RECONCILER_GIT_USER": remote.username, "IVS_RECONCILER_GIT_TOKEN": token}
        if scheme == "ssh":
            environment["GIT_SSH_COMMAND"] = shlex.join(ssh_command(remote))
        environment["GIT_CONFIG_COUNT"] = str(len(config))
        for index, (key, value) in enumerate(config):
            environment[f"GIT_CONFIG_KEY_{index}"] = key
            environment[f"GIT_CONFIG_VALUE_{index}"] = value
        return environment


def ssh_command(remote: Remote) -> Sequence[str]:
    """Return how ssh is called: one key, the hosts of one file, no question, no forwarding, no settings of the machine."""
    options = {
        "BatchMode": "yes",
        "StrictHostKeyChecking": "yes",
        "UserKnownHostsFile": str(Path(remote.known_hosts).absolute()),
        "GlobalKnownHostsFile": os.devnull,
        "IdentitiesOnly": "yes",
        "ForwardAgent": "no",
        "ConnectTimeout": "20",
        "ServerAliveInterval": "15",
    }
    key = ["-i", str(Path(remote.ssh_key).absolute())] if remote.ssh_key else []
    return [
        "ssh",
        "-F",
        os.devnull,
        *key,
        *(word for name, value in options.items() for word in ("-o", f"{name}={value}")),
    ]


def _clean(text: str, token: str) -> str:
    return shown(text.replace(token, "***") if token else text)


def last_words(text: str) -> str:
    """Return what git said at the end, on one line and not too long."""
    lines = [line.strip().removeprefix("fatal: ").removeprefix("error: ") for line in text.splitlines() if line.strip()]
    said = "; ".join(lines[-3:]) or "it said nothing"
    return said if len(said) <= _LONGEST else said[:_LONGEST] + "…"
