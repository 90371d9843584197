"""The container of examples/sandbox: not root, writes to one folder only, healthy when it answers, no registry written out."""

from __future__ import annotations

import fnmatch
import json
import os
import re
import shlex
import signal
import subprocess
import sys
import urllib.request
from pathlib import Path

import yaml

from reconciler.cli.main import build_parser

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "examples" / "sandbox"

# Writes down every file that is opened for writing, and every folder made, while the command runs.
WATCH = """
import os, runpy, sys
seen = open(sys.argv.pop(1), "a", buffering=1)
def watch(event, details):
    if event == "open" and isinstance(details[0], (str, bytes)) and details[2] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT):
        seen.write(os.path.abspath(os.fsdecode(details[0])) + "\\n")
    if event in ("os.mkdir", "os.rename", "os.remove", "sqlite3.connect"):
        seen.write(os.path.abspath(os.fsdecode(details[0])) + "\\n")
sys.addaudithook(watch)
runpy.run_module("reconciler.cli.sandbox", run_name="__main__", alter_sys=True)
"""


def instructions() -> list[tuple[str, str]]:
    """Read the Dockerfile: comments dropped, continued lines joined."""
    text = re.sub(r"\\\n\s*", " ", (FOLDER / "Dockerfile").read_text(encoding="utf-8"))
    lines = [line.strip() for line in text.splitlines() if line.strip() and not line.startswith("#")]
    return [(word.upper(), rest.strip()) for word, _, rest in (line.partition(" ") for line in lines)]


def last_stage() -> dict[str, str]:
    """The instructions of the image that runs; of those given twice the last."""
    found = instructions()
    start = max(number for number, (word, _) in enumerate(found) if word == "FROM")
    return dict(found[start:])


def serve_arguments() -> list[str]:
    stage = last_stage()
    command = [*json.loads(stage["ENTRYPOINT"]), *json.loads(stage["CMD"])]
    assert command[0] == "ivs-reconciler"
    return [str(word) for word in command[1:]]


def test_every_instruction_is_one_that_builders_know() -> None:
    known = {
        "ARG",
        "FROM",
        "ENV",
        "WORKDIR",
        "COPY",
        "RUN",
        "LABEL",
        "USER",
        "VOLUME",
        "EXPOSE",
        "HEALTHCHECK",
        "ENTRYPOINT",
        "CMD",
    }
    assert {word for word, _ in instructions()} <= known


def test_base_images_come_from_the_registry_of_the_builder() -> None:
    (default,) = (rest.partition("=")[2] for word, rest in instructions() if word == "ARG")
    images = [rest.split()[0] for word, rest in instructions() if word == "FROM"]
    assert images == ["${PYTHON}", "${PYTHON}"]
    first = default.split("/")[0]
    assert "/" not in default or not any(sign in first for sign in ".:")
    assert default.rpartition(":")[2] not in ("", "latest", default)


def test_it_runs_as_a_numbered_user_that_owns_the_one_folder_it_writes_to() -> None:
    stage = last_stage()
    user, _, group = stage["USER"].partition(":")
    assert int(user) > 0
    assert int(group) > 0
    assert stage["VOLUME"] == stage["WORKDIR"] == "/data"
    assert f"chown {stage['USER']} /data" in stage["RUN"]
    assert "PYTHONDONTWRITEBYTECODE=1" in stage["ENV"]


def test_what_is_copied_exists_and_is_not_ignored() -> None:
    ignored = [
        line
        for line in (FOLDER / "Dockerfile.dockerignore").read_text(encoding="utf-8").splitlines()
        if not line.startswith("#")
    ]
    assert ignored[0] == "*"
    allowed = {line.removeprefix("!") for line in ignored if line.startswith("!")}
    copied = {
        source
        for word, rest in instructions()
        if word == "COPY" and "--from" not in rest
        for source in rest.split()[:-1]
    }
    assert copied == allowed
    for source in copied:
        assert (ROOT / source).exists(), source
    assert any(fnmatch.fnmatch("reconciler/__pycache__", pattern.replace("**", "*")) for pattern in ignored)


def test_its_command_is_valid_and_its_port_is_exposed() -> None:
    args = build_parser().parse_args(serve_arguments())
    assert (args.host, str(args.port), args.db) == ("0.0.0.0", last_stage()["EXPOSE"], "/data/sandbox.db")


def test_the_server_writes_to_its_directory_only_is_healthy_and_stops_on_sigterm(tmp_path: Path) -> None:
    data, seen = tmp_path / "data", tmp_path / "seen"
    data.mkdir()
    replaced = {"/data/sandbox.db": str(data / "sandbox.db"), "0.0.0.0": "127.0.0.1", "4599": "0"}
    arguments = [replaced.get(word, word) for word in serve_arguments()]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1", "SQLITE_TMPDIR": str(data)}
    with subprocess.Popen(
        [sys.executable, "-c", WATCH, str(seen), *arguments],
        cwd=data,
        env=environment,
        stdout=subprocess.PIPE,
        text=True,
    ) as server:
        try:
            assert server.stdout is not None
            endpoint = server.stdout.readline().split(" on ")[1].split(" ")[0]
            urllib.request.urlopen(urllib.request.Request(f"{endpoint}/CreateChannel", b"{}"), timeout=60).close()
            urllib.request.urlopen(endpoint, timeout=60).close()
            check = [
                word.replace("http://127.0.0.1:4599", endpoint)
                for word in json.loads(last_stage()["HEALTHCHECK"].partition("CMD ")[2])
            ]
            healthy = subprocess.run([sys.executable, *check[1:]], timeout=60, check=False)
            assert healthy.returncode == 0
        finally:
            server.send_signal(signal.SIGTERM)
            assert server.wait(60) == 0
    sick = subprocess.run([sys.executable, *check[1:]], capture_output=True, timeout=60, check=False)
    assert sick.returncode != 0
    written = {Path(line) for line in seen.read_text().splitlines()} - {Path("/dev/null")}
    assert data / "sandbox.db" in written
    assert [path for path in written if data not in (path, *path.parents)] == []


def test_the_composition_is_read_only_without_capabilities_and_for_this_machine() -> None:
    found = yaml.safe_load((FOLDER / "compose.yaml").read_text(encoding="utf-8"))
    (service,) = found["services"].values()
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert service["ports"] == ["127.0.0.1:4599:4599"]
    assert service["volumes"] == ["state:/data"]
    assert set(found["volumes"]) == {"state"}
    assert (FOLDER / service["build"]["context"]).resolve() == ROOT
    assert (ROOT / service["build"]["dockerfile"]) == FOLDER / "Dockerfile"
    assert build_parser().parse_args([*json.loads(last_stage()["ENTRYPOINT"])[1:], *service["command"]]).quotas is True


def test_the_page_beside_it_builds_that_file_and_runs_it_as_tightly() -> None:
    page = (FOLDER / "README.md").read_text(encoding="utf-8")
    build, run = (shlex.split(line) for line in re.findall(r"^docker .*$", page, re.MULTILINE))
    assert build[build.index("-f") + 1] == "examples/sandbox/Dockerfile"
    assert build[-1] == "."
    assert {"--read-only", "--rm"} <= set(run)
    assert run[run.index("-p") + 1].startswith("127.0.0.1:")
    assert run[run.index("-v") + 1].endswith(f":{last_stage()['VOLUME']}")
