"""Runs git against a remote repository that other people write to.

Neither the machine's nor the repository's configuration applies: no hooks, filters, prompts or redirects, and one transport.
Credentials reach only the process that needs them, through its environment: never through arguments, URLs or messages.
"""

from __future__ import annotations

import contextlib
import os
import re
import selectors
import shlex
import signal
import subprocess
import tempfile
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from urllib.parse import urlsplit

from reconciler.errors import ReconcilerError, UsageError, os_reason
from reconciler.network import ca_bundle
from reconciler.terminal import mask_urls, short_commit, shortened

_SCHEMES = ("https", "http", "ssh", "file")
_SCP = re.compile(r"(?:[A-Za-z0-9._-]+@)?[A-Za-z0-9.-]+:(?!//).+")
_INHERITED = (
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
_CREDENTIAL_HELPER = '!f() { test "$1" = get && printf "username=%s\\npassword=%s\\n" "$IVS_RECONCILER_GIT_USER" "$IVS_RECONCILER_GIT_TOKEN"; }; f'
_MAX_SECRET_BYTES = 65_536
_MAX_QUOTE = 400
"""Characters of git's output in a message."""

_STOP_POLL_SECONDS = 0.25
_MAX_OUTPUT_BYTES = 64 << 20
"""Bytes that a command may write. The longest output is the list of a commit's files."""

_MAX_MEMORY_KIB = 1 << 20
_MAX_FILE_BLOCKS = 4 << 20
"""Of 512 bytes: the largest file that git may write, which is a pack."""

_LIMITED = (
    "sh",
    "-c",
    f'ulimit -v {_MAX_MEMORY_KIB} 2>/dev/null; ulimit -f {_MAX_FILE_BLOCKS} 2>/dev/null; exec "$@"',
    "sh",
)
"""Runs a command with limits that its children inherit: a remote decides how much it sends."""

_MIN_VERSION = (2, 34)
"""The first git with ssh signatures. Older ones also ignore configuration in the environment, which would leave hooks and redirects enabled."""


class Secret:
    """A secret in a file, which may be replaced while the controller runs, or given as a value. Its ``repr`` never shows it."""

    def __init__(self, *, file: str = "", value: str = "", what: str = "secret") -> None:
        self._file = file
        self._value = value.strip()
        self._what = what

    def __bool__(self) -> bool:
        return bool(self._file or self._value)

    def __repr__(self) -> str:
        return f"Secret({self._file or ('***' if self._value else '')!r})"

    def read(self) -> str:
        """Return the secret, or an empty string if none is set. Raises ``UsageError`` for a file that cannot be read or is empty."""
        if not self._file:
            return self._value
        try:
            text = Path(self._file).read_bytes()[:_MAX_SECRET_BYTES].decode().strip()
        except (OSError, ValueError):
            raise UsageError(f"cannot read the {self._what} from {self._file}") from None
        if not text:
            raise UsageError(f"{self._file} is empty; it must contain the {self._what}")
        return text


class Trouble(StrEnum):
    """Why the newest commit of the branch is not used; also a metric label."""

    UNREACHABLE = "unreachable"
    NO_BRANCH = "no-branch"
    UNVERIFIED = "unverified"
    REWOUND = "rewound"
    NEW_STACK = "new-stack"
    NO_PROJECT = "no-project"


class GitError(ReconcilerError):
    """Git failed, or the repository cannot be used. The message contains no credential."""

    def __init__(self, message: str, trouble: Trouble = Trouble.UNREACHABLE) -> None:
        self.trouble = trouble
        super().__init__(message)


@dataclass(frozen=True, slots=True)
class Remote:
    """A repository, the branch to follow, and the credentials. The token goes to git's environment and nowhere else."""

    url: str
    branch: str = "main"
    username: str = "x-access-token"
    token: Secret = field(default_factory=Secret)
    ssh_key: str = ""
    known_hosts: str = ""
    allowed_signers: str = ""


def check_remote(remote: Remote) -> None:
    """Raise ``UsageError`` for a URL, a branch or credentials that cannot be used safely."""
    remote.token.read()
    scheme = scheme_of(remote.url)
    parts = urlsplit(remote.url) if "://" in remote.url else None
    if remote.url.startswith("-") or not remote.url.strip() or scheme not in _SCHEMES:
        raise UsageError(
            f"unsupported repository URL {mask_urls(remote.url)!r}; use an https or ssh URL, or the path of a directory"
        )
    if parts and (parts.password is not None or (scheme in ("https", "http") and parts.username is not None)):
        raise UsageError(
            "the repository URL contains a user name or password; remove it, and pass the token in a file or in the environment"
        )
    if scheme == "http" and remote.token and parts and (parts.hostname or "") not in ("localhost", "127.0.0.1", "::1"):
        raise UsageError("the token would be sent unencrypted over http; use an https URL")
    if re.search(r"[\x00-\x20\x7f~^:?*\[\\]|\.\.|@\{|//|^[-/.]|[/.]$|\.lock$|^$", remote.branch):
        raise UsageError(f"{remote.branch!r} is not a valid branch name")
    for name, path in (
        ("ssh key", remote.ssh_key),
        ("known hosts", remote.known_hosts),
        ("allowed signers", remote.allowed_signers),
    ):
        if path and not os.access(path, os.R_OK):
            raise UsageError(f"cannot read the {name} file {path}")
    if scheme == "ssh" and not remote.known_hosts:
        raise UsageError(
            "an ssh repository needs a known hosts file to verify the server; get its line with ssh-keyscan and check it"
        )


def scheme_of(url: str) -> str:
    """Return the transport of a URL: https, http, ssh, file, or the unknown scheme as written."""
    if "://" in url:
        return urlsplit(url).scheme.lower()
    if "::" in url:
        return url.partition("::")[0]
    return "ssh" if _SCP.fullmatch(url) and not Path(url).exists() else "file"


class Git:
    """Git in one bare repository, with access to one remote."""

    def __init__(
        self, folder: Path, remote: Remote, *, timeout: float = 120.0, stop: threading.Event | None = None
    ) -> None:
        self._stop = stop or threading.Event()
        self._checked = False
        self._folder = folder
        self._remote = remote
        self._timeout = timeout

    def run(
        self,
        *args: str,
        network: bool = False,
        extra: Mapping[str, str] | None = None,
        stdin: bytes = b"",
        errors: str = "replace",
    ) -> subprocess.CompletedProcess[str]:
        """Run git and return the finished process with any exit code; ``network`` passes the credentials, and bounds memory and files.

        Raises ``GitError`` if git is missing, does not finish in time, or writes too much.
        """
        try:
            token = self._remote.token.read() if network else ""
        except UsageError as error:
            raise GitError(str(error)) from None
        # A directory's packs are mapped by the git that serves it, and are the operator's own.
        is_limited = network and scheme_of(self._remote.url) != "file"
        command = [*(_LIMITED if is_limited else ()), "git", *args]
        done = self._run(command, {**self._environment(token), **(extra or {})}, stdin)
        out, err = done.stdout.decode(errors=errors), done.stderr.decode(errors="replace")
        return subprocess.CompletedProcess(args, done.returncode, out, _clean(err, token))

    def check_signed_now(self, commit: str) -> None:
        """Raise ``GitError`` if the key that signed a commit is not allowed at this moment.

        ``git verify-commit`` asks whether it was at the commit's date, which is what the committer wrote.
        """
        content = self._run(["git", "cat-file", "commit", commit], self._environment("")).stdout
        payload, signature = _signed_parts(content)
        environment = {name: os.environ[name] for name in ("PATH",) if name in os.environ} | {"LANG": "C.UTF-8"}
        allowed = str(Path(self._remote.allowed_signers).absolute())
        with tempfile.NamedTemporaryFile(dir=self._folder, prefix="signature-") as file:
            file.write(signature)
            file.flush()
            ask = ["ssh-keygen", "-Y", "find-principals", "-f", allowed, "-s", file.name]
            found = self._run(ask, environment)
            for principal in found.stdout.decode(errors="replace").splitlines() if found.returncode == 0 else ():
                verify = ["ssh-keygen", "-Y", "verify", "-n", "git", "-f", allowed, "-I", principal, "-s", file.name]
                if self._run(verify, environment, payload).returncode == 0:
                    return
        why = last_lines(found.stderr.decode(errors="replace"))
        raise GitError(
            f"commit {short_commit(commit)} is signed by a key that is not allowed now; its date does not count ({why}); it is not followed",
            Trouble.UNVERIFIED,
        )

    def _run(
        self, command: Sequence[str], environment: Mapping[str, str], stdin: bytes = b""
    ) -> subprocess.CompletedProcess[bytes]:
        with tempfile.TemporaryFile() as given:
            given.write(stdin)
            given.seek(0)
            try:
                process = subprocess.Popen(  # noqa: S603 - no shell but for limits, and every argument is ours or checked
                    command,
                    cwd=self._folder,
                    env=environment,
                    stdin=given,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.PIPE,
                    start_new_session=True,
                )
            except OSError as error:
                raise GitError(f"cannot start {command[0]} ({os_reason(error)}); install it, and check PATH") from None
        with process:
            try:
                out, err = self._output_of(process)
            except GitError:
                # Git uses child processes for the network: the whole group has to end.
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
                raise
        return subprocess.CompletedProcess(command, process.returncode, out, err)

    def _output_of(self, process: subprocess.Popen[bytes]) -> tuple[bytes, bytes]:
        """Return the output of a process once it has ended. Raises ``GitError`` when it takes too long or writes too much."""
        end = time.monotonic() + self._timeout
        out, err = bytearray(), bytearray()
        url = mask_urls(self._remote.url)
        with selectors.DefaultSelector() as pipes:
            pipes.register(process.stdout, selectors.EVENT_READ, out)  # type: ignore[arg-type]  # it is a pipe
            pipes.register(process.stderr, selectors.EVENT_READ, err)  # type: ignore[arg-type]
            while pipes.get_map() or process.poll() is None:
                if self._stop.is_set() or time.monotonic() >= end:
                    why = (
                        "interrupted by shutdown" if self._stop.is_set() else f"no answer within {self._timeout:.0f} s"
                    )
                    raise GitError(f"{url}: {why}")
                if not pipes.get_map():
                    with contextlib.suppress(subprocess.TimeoutExpired):
                        process.wait(_STOP_POLL_SECONDS)
                for key, _ in pipes.select(_STOP_POLL_SECONDS) if pipes.get_map() else ():
                    part = os.read(key.fd, 65_536)
                    key.data.extend(part)
                    if not part:
                        pipes.unregister(key.fileobj)
                if len(out) + len(err) > _MAX_OUTPUT_BYTES:
                    raise GitError(f"{url}: git wrote more than {_MAX_OUTPUT_BYTES >> 20} MiB; it was stopped")
        return bytes(out), bytes(err)

    def check(self) -> None:
        """Raise ``GitError`` if git is missing, or too old to be restricted."""
        if self._checked:
            return
        version = self.output("version")
        found = re.search(r"(\d+)\.(\d+)", version)
        if not found or (int(found[1]), int(found[2])) < _MIN_VERSION:
            raise GitError(f"git {'.'.join(map(str, _MIN_VERSION))} or newer is required, found {version!r}")
        self._checked = True

    def output(
        self,
        *args: str,
        network: bool = False,
        extra: Mapping[str, str] | None = None,
        stdin: bytes = b"",
        errors: str = "replace",
    ) -> str:
        """Run git and return its output. Raises ``GitError`` with its last error lines if it fails."""
        done = self.run(*args, network=network, extra=extra, stdin=stdin, errors=errors)
        if done.returncode:
            raise GitError(f"git {args[0]} failed: {last_lines(done.stderr)}")
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
            ("core.bigFileThreshold", "16m"),
            ("core.packedGitWindowSize", "32m"),
            ("core.packedGitLimit", "256m"),
            ("pack.threads", "2"),
            ("advice.detachedHead", "false"),
            ("credential.helper", ""),
            ("gpg.program", "false"),
            ("gpg.openpgp.program", "false"),
            ("gpg.x509.program", "false"),
            # Without this, git accepts a signature by a key that is not listed.
            ("gpg.minTrustLevel", "fully"),
        ]
        if remote.allowed_signers:
            config.append(("gpg.ssh.allowedSignersFile", str(Path(remote.allowed_signers).absolute())))
        environment = {
            **{name: os.environ[name] for name in _INHERITED if name in os.environ},
            "HOME": str(self._folder),
            "LANG": "C.UTF-8",
            "MALLOC_ARENA_MAX": "2",
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
        if "GIT_SSL_CAINFO" not in environment and (bundle := ca_bundle()):
            environment["GIT_SSL_CAINFO"] = bundle
        if token and scheme in ("https", "http"):
            parts = urlsplit(remote.url)
            # For this host alone: no other host that git may be led to gets the token.
            config.append((f"credential.{parts.scheme}://{parts.netloc}.helper", _CREDENTIAL_HELPER))
            environment |= {"IVS_RECONCILER_GIT_USER": remote.username, "IVS_RECONCILER_GIT_TOKEN": token}
        if scheme == "ssh":
            environment["GIT_SSH_COMMAND"] = shlex.join(ssh_command(remote))
        environment["GIT_CONFIG_COUNT"] = str(len(config))
        for index, (key, value) in enumerate(config):
            environment[f"GIT_CONFIG_KEY_{index}"] = key
            environment[f"GIT_CONFIG_VALUE_{index}"] = value
        return environment


def ssh_command(remote: Remote) -> Sequence[str]:
    """Return the ssh command: one key, one known hosts file, no prompts, no forwarding, no configuration of the machine."""
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
        *(arg for name, value in options.items() for arg in ("-o", f"{name}={value}")),
    ]


def _signed_parts(commit: bytes) -> tuple[bytes, bytes]:
    """Return what a commit's signature is over, and the signature; empty if it has none."""
    head, blank, message = commit.partition(b"\n\n")
    kept: list[bytes] = []
    signature: list[bytes] = []
    is_signature = False
    for line in head.split(b"\n"):
        if line.startswith(b" ") and is_signature:
            signature.append(line[1:])
            continue
        is_signature = line.startswith((b"gpgsig ", b"gpgsig-sha256 "))
        if is_signature:
            signature.append(line.partition(b" ")[2])
        else:
            kept.append(line)
    return b"\n".join(kept) + blank + message, b"".join(line + b"\n" for line in signature)


def _clean(text: str, token: str) -> str:
    return mask_urls(text.replace(token, "***") if token else text)


def last_lines(text: str) -> str:
    """Return the last three lines of git's output on one line, shortened."""
    lines = [line.strip().removeprefix("fatal: ").removeprefix("error: ") for line in text.splitlines() if line.strip()]
    return shortened("; ".join(lines[-3:]) or "no output", _MAX_QUOTE)
