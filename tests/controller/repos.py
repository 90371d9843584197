"""Real git repositories for the controller to follow: in a folder, and behind git's own HTTP backend."""

from __future__ import annotations

import base64
import os
import subprocess
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import yaml

from tests.cli.support import QuietServer

_WHO = {
    "GIT_AUTHOR_NAME": "Ada",
    "GIT_AUTHOR_EMAIL": "ada@example.com",
    "GIT_COMMITTER_NAME": "Ada",
    "GIT_COMMITTER_EMAIL": "ada@example.com",
}


class Repo:
    """A repository with a work tree that tests commit to."""

    def __init__(self, folder: Path, branch: str = "main") -> None:
        self.folder = folder
        self.branch = branch
        folder.mkdir(parents=True)
        self.git("init", "--quiet", f"--initial-branch={branch}")

    def git(self, *words: str, env: Mapping[str, str] | None = None) -> str:
        machine = {"PATH": os.environ["PATH"], "HOME": str(self.folder), "GIT_CONFIG_NOSYSTEM": "1"}
        environment = {**machine, **_WHO, **(env or {})}
        return subprocess.run(
            ["git", *words], cwd=self.folder, env=environment, check=True, capture_output=True, text=True
        ).stdout.strip()

    def write(self, files: Mapping[str, object]) -> None:
        """Write files: text as it is, anything else as YAML, ``None`` takes a file away."""
        for name, content in files.items():
            path = self.folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            if content is None:
                path.unlink()
            else:
                path.write_text(
                    content if isinstance(content, str) else yaml.safe_dump(content, sort_keys=False), encoding="utf-8"
                )

    def commit(
        self,
        files: Mapping[str, object],
        message: str = "A change",
        *options: str,
        env: Mapping[str, str] | None = None,
    ) -> str:
        self.write(files)
        self.git("add", "--all")
        self.git("commit", "--quiet", "--allow-empty", "-m", message, *options, env=env)
        return self.head

    @property
    def head(self) -> str:
        return self.git("rev-parse", "HEAD")

    def sign_with(self, key: Path) -> None:
        self.git("config", "gpg.format", "ssh")
        self.git("config", "user.signingkey", str(key))


def ssh_key(path: Path) -> str:
    """Make a key pair and return its public line."""
    subprocess.run(
        ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "", "-f", str(path)], check=True, capture_output=True
    )
    return path.with_suffix(".pub").read_text(encoding="utf-8").strip()


@contextmanager
def over_http(
    root: Path, *, password: str = "", answer: Callable[[str], int | None] = lambda _: None
) -> Iterator[tuple[str, list[str]]]:
    """Serve the repositories under a folder by ``git http-backend``; yields the URL and the Authorization headers seen.

    ``answer`` may give a status to answer a path with instead.
    """
    seen: list[str] = []
    backend = (
        Path(subprocess.run(["git", "--exec-path"], check=True, capture_output=True, text=True).stdout.strip())
        / "git-http-backend"
    )
    wanted = "Basic " + base64.b64encode(f"x-access-token:{password}".encode()).decode()

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base class's name
            pass

        def do_GET(self) -> None:
            given = self.headers.get("Authorization", "")
            seen.append(given)
            status = answer(self.path)
            if status is None and password and given != wanted:
                status = 401
            if status is not None:
                self.send_response(status)
                self.send_header("WWW-Authenticate", 'Basic realm="git"')
                self.send_header("Location", "http://127.0.0.1:1/elsewhere.git/info/refs?service=git-upload-pack")
                self.send_header("Content-Length", "0")
                self.end_headers()
                return
            path, _, query = self.path.partition("?")
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            environment = {
                "PATH": os.environ["PATH"],
                "GIT_PROJECT_ROOT": str(root),
                "GIT_HTTP_EXPORT_ALL": "1",
                "PATH_INFO": path,
                "QUERY_STRING": query,
                "REQUEST_METHOD": self.command,
                "CONTENT_TYPE": self.headers.get("Content-Type", ""),
                "CONTENT_LENGTH": str(len(body)),
                "HTTP_CONTENT_ENCODING": self.headers.get("Content-Encoding", ""),
                "GIT_PROTOCOL": self.headers.get("Git-Protocol", ""),
                "REMOTE_ADDR": "127.0.0.1",
            }
            done = subprocess.run([str(backend)], input=body, env=environment, capture_output=True, check=True)
            head, _, content = done.stdout.partition(b"\r\n\r\n")
            headers = dict(line.split(": ", 1) for line in head.decode().splitlines())
            self.send_response(int(headers.pop("Status", "200").split()[0]))
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        do_POST = do_GET  # noqa: N815 - http.server's names

    server = QuietServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}", seen
    finally:
        server.shutdown()
        server.server_close()
