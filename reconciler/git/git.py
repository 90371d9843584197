"""Runs git against a repository that other people write to.

Nothing of the machine's or the repository's configuration has a say: no hooks, no filters, no prompts, no redirects, one transport.
Credentials go through the environment of the one process that needs them, never through arguments, addresses or messages.

A secret that somebody else keeps: in a file, read anew each time so that it can be exchanged while the controller runs, or in the environment.

Ask git about the folder that a spec lives in. Read-only: no checkout, no index, no network.

Which commits a plan is of, and whether they are still the ones at hand.

A plan of a pull request is made from its head, or from the merge that the forge tries; it is applied there, or after the merge.
It still fits where the very commit is checked out, or one that carries the same files on top of the same base: then nothing came in between.
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
from dataclasses import dataclass, field, replace
from enum import StrEnum
from pathlib import Path
from urllib.parse import urlsplit

from reconciler.errors import ReconcilerError, StalePlan, UsageError
from reconciler.plan.plan import Base, Plan

_SECRET_LONGEST = 65_536


class Secret:
    """Knows where a secret is. Its text never holds it."""

    def __init__(self, *, file: str = "", value: str = "", what: str = "secret") -> None:
        self._file = file
        self._value = value.strip()
        self._what = what

    def __bool__(self) -> bool:
        return bool(self._file or self._value)

    def __repr__(self) -> str:
        return f"Secret({self._file or ('***' if self._value else '')!r})"

    def read(self) -> str:
        """Return the secret, or nothing where none was given. Raises ``UsageError`` for a file that cannot be read or is empty."""
        if not self._file:
            return self._value
        try:
            text = Path(self._file).read_bytes()[:_SECRET_LONGEST].decode().strip()
        except (OSError, ValueError):
            raise UsageError(f"the file of the {self._what}, {self._file}, cannot be read; name one that can") from None
        if not text:
            raise UsageError(f"the file of the {self._what}, {self._file}, is empty; put the {self._what} into it")
        return text


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


_TIMEOUT_SECONDS = 60


def head_commit(folder: Path) -> str | None:
    """Return the commit that is checked out in the folder, or ``None`` where there is no repository, no commit, or no git."""
    return commit_of(folder, "HEAD")


def commit_of(folder: Path, name: str) -> str | None:
    """Return the commit that a name stands for, or ``None``."""
    return asked(folder, "rev-parse", "--verify", "--quiet", "--end-of-options", name + "^{commit}")


def tree_of(folder: Path, name: str) -> str | None:
    """Return the tree of the commit that a name stands for, or ``None``: two commits with one tree hold the same files."""
    return asked(folder, "rev-parse", "--verify", "--quiet", "--end-of-options", name + "^{tree}")


def top_of(folder: Path) -> Path | None:
    """Return the top of the work tree that a folder is in, or ``None``."""
    top = asked(folder, "rev-parse", "--show-toplevel")
    return Path(top) if top else None


def work_tree_of(folder: Path) -> Path | None:
    """Return the top of the work tree that a folder is in, whether or not git is installed here."""
    return next((parent for parent in (folder, *folder.parents) if (parent / ".git").exists()), None)


def ignores(tree: Path, path: Path) -> bool:
    """Whether git ignores a path in a work tree. Where git cannot tell, it does not."""
    return asked(tree, "check-ignore", "--quiet", "--", str(path)) is not None


def holds(folder: Path, ancestor: str, commit: str) -> bool:
    """Whether a commit came from another one, or is it."""
    return asked(folder, "merge-base", "--is-ancestor", ancestor, commit) is not None


def asked(folder: Path, *words: str, bare: bool = False) -> str | None:
    """Return what git answers to a question, or ``None`` where it has no answer or is not there; ``bare`` keeps the answer as it came."""
    try:
        answer = subprocess.run(  # noqa: S603 - the words are ours; names that are not follow --end-of-options
            ["git", *words],  # noqa: S607 - git is found as the user's shell finds it
            cwd=folder,
            env=quiet_environment(),
            capture_output=True,
            timeout=_TIMEOUT_SECONDS,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    if answer.returncode:
        return None
    text = os.fsdecode(answer.stdout)
    return text if bare else text.strip()


def quiet_environment() -> dict[str, str]:
    """Return the environment for a git that asks nobody, fetches nothing, and takes no object for another."""
    return {
        **os.environ,
        "GIT_TERMINAL_PROMPT": "0",
        "GIT_NO_LAZY_FETCH": "1",
        "GIT_NO_REPLACE_OBJECTS": "1",
        "GIT_OPTIONAL_LOCKS": "0",
    }


def with_origin(plan: Plan, root: Path, base: str | None) -> Plan:
    """Return the plan with what git knows of its origin; ``base`` names what its commit is to be merged into. Raises ``UsageError``."""
    if plan.git_commit is None:
        if base:
            raise UsageError(f"--base {base}: {root} is not in a git repository with a commit")
        return plan
    found = None
    if base:
        commit = commit_of(root, base)
        if commit is None:
            raise UsageError(
                f"--base {base} stands for no commit in this clone; fetch it first (a shallow clone lacks most)"
            )
        found = Base(base, commit)
    return replace(plan, git_tree=tree_of(root, plan.git_commit), base=found)


def must_be_current(plan: Plan, root: Path, base: str | None) -> None:
    """Raise ``StalePlan`` when the checked-out commit, or the base, is not the one that the plan was made for.

    ``base`` names where the base is now; the plan knows the name it was made with.
    """
    if plan.git_commit is None:
        raise StalePlan(
            "plan refused: it does not say which commit it is of, because it was made outside a git repository; plan again in a clone"
        )
    if plan.base is None and base:
        raise StalePlan(
            f"plan refused: it was made without a base to hold {base} against; plan again with --base {base}"
        )
    head = head_commit(root)
    if head is None:
        raise StalePlan(
            f"plan refused: {root} is not in a git repository with a commit, so nothing says that {plan.git_commit} is at hand"
        )
    moved = []
    same_files = plan.git_tree is not None and tree_of(root, head) == plan.git_tree
    fits = head == plan.git_commit or (same_files and (plan.base is None or holds(root, plan.base.commit, head)))
    if not fits:
        moved.append(f"  the commit moved: {head} is checked out, and the plan is of {plan.git_commit}")
    if plan.base is not None:
        name = base or plan.base.name
        now = commit_of(root, name)
        if now is None:
            moved.append(f"  the base {name} stands for no commit here; fetch it")
        elif now != plan.base.commit and not (
            fits and now == head
        ):  # the merge itself moves the base, to what is checked out
            moved.append(f"  the base moved: {name} is at {now}, and the plan was made for {plan.base.commit}")
    if moved:
        raise StalePlan("\n".join(["plan refused: it is stale, because since it was made", *moved, "plan again"]))
