"""The pages of ``docs/`` as programs: their files are written, their commands run, and what they print is compared.

In a page, a ``yaml`` block that begins with ``# path/name.yaml`` is a file, and in a ``console`` block ``$ `` begins a command, followed by its output.
Commands of a page run in one shell; blocks of other languages (``sh``) are not run.
``python -m tests.guide --write`` puts the present output into the pages; what differs in each run (ids, times) is kept where nothing else changed.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import re
import socket
import subprocess
import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.preloaded import write_program

ROOT = Path(__file__).resolve().parent.parent
DOCS = ROOT / "docs"
PAGES = (
    "get-started",
    "migrate",
    "write-specs",
    "plan-and-apply",
    "preview",
    "drift",
    "controller",
    "secrets",
    "permissions",
    "outputs",
    "fleets",
)
PORTS = ("8080", "4599", "8786", "8788")

_BLOCK = re.compile(r"^```(console|yaml)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_FILE = re.compile(r"# ([\w./-]+\.ya?ml)\n")
_ARN_ID = re.compile(r"(:(?:channel|stream-key|playback-key|[a-z-]+-configuration|[a-z-]+-policy)/)[A-Za-z0-9]{12}\b")
_MASKS = (
    (re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ"), "(time)"),
    (re.compile(r"\b[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}\b"), "(event)"),
    (_ARN_ID, r"\1(id)"),
    (re.compile(r"\.channel\.[A-Za-z0-9]{12}\.m3u8"), ".channel.(id).m3u8"),
    (re.compile(r"\b[0-9a-f]{40}\b"), "(commit)"),
    (re.compile(r"\bcommit [0-9a-f]{7,12}\b"), "commit (commit)"),
    (re.compile(r"\(\d+ calls?, \d+\.\d s\)"), "(calls, time)"),
)
# Fixed dates make the commits of a page the same in every run, but for signed ones.
_GIT = {
    f"GIT_{role}_{field}": value
    for role in ("AUTHOR", "COMMITTER")
    for field, value in (("NAME", "Ada"), ("EMAIL", "ada@example.com"), ("DATE", "2026-11-20T09:00:00Z"))
}


@dataclass(frozen=True)
class Command:
    """One command of a page and the output shown below it; a file to write has no output and is marked as such."""

    text: str
    output: str = ""
    file: str = ""

    def script(self) -> str:
        """Return shell code for it."""
        if not self.file:
            return self.text
        return f"mkdir -p \"$(dirname '{self.file}')\"; cat > '{self.file}' <<'END_OF_FILE'\n{self.text}END_OF_FILE"


def page(name: str) -> str:
    """Return the text of a page."""
    return (DOCS / f"{name}.md").read_text(encoding="utf-8")


def commands(text: str) -> list[Command]:
    """Return the commands and files of a page, in order."""
    return [command for _, language, body in _blocks(text) for command in _commands_of(language, body)]


def _blocks(text: str) -> list[tuple[re.Match[str], str, str]]:
    return [(found, found[1], found[2]) for found in _BLOCK.finditer(text)]


def _commands_of(language: str, body: str) -> list[Command]:
    if language == "yaml":
        named = _FILE.match(body)
        return [Command(body, file=named[1])] if named else []
    return [Command(*part.partition("\n")[::2]) for part in re.split(r"^\$ ", body, flags=re.MULTILINE)[1:]]


def masked(text: str) -> str:
    """Return output without ids and times, and with the lines of parallel actions in a fixed order."""
    for pattern, replacement in _MASKS:
        text = pattern.sub(replacement, text)
    lines = text.strip().splitlines()
    finished = [index for index, line in enumerate(lines) if line.startswith("  done  ")]
    for index, line in zip(finished, sorted(lines[index] for index in finished), strict=True):
        lines[index] = line
    return "\n".join(lines)


def run_page(text: str, folder: Path, *, hidden: Iterable[str] = ()) -> list[str]:
    """Run every command of a page in one shell below ``folder`` and return what each printed, log lines (JSON) left out.

    ``hidden`` are packages that cannot be imported meanwhile. Ports of the page are replaced by free ones.
    Raises ``AssertionError`` if the shell ends early or the last command fails.
    """
    (folder / "bin").mkdir()
    # Programs of this environment, which need not be on the path.
    for name, module in (("ivs-reconciler", "reconciler"), ("aws", "awscli"), ("dask", "dask")):
        write_program(folder / "bin" / name, module)
    for package in hidden:
        (folder / "hidden").mkdir(exist_ok=True)
        (folder / "hidden" / f"{package}.py").write_text(
            "raise ModuleNotFoundError(f'No module named {__name__!r}', name=__name__)\n", encoding="utf-8"
        )
    work = folder / "work"
    work.mkdir()
    found = commands(text)
    lines = ["trap 'kill $(jobs -p) 2>/dev/null' EXIT"]
    for number, command in enumerate(found):
        lines += [f"echo '<<{number}>>'", command.script()]
    ports = dict(zip(PORTS, free_ports(), strict=False))
    done = subprocess.run(
        ["bash", "-c", _with_ports("\n".join(lines), ports)],
        cwd=work,
        env={
            **os.environ,
            **_GIT,
            "HOME": str(folder),
            "PYTHONPATH": f"{folder / 'hidden'}{os.pathsep}{ROOT}",
            "PATH": f"{folder / 'bin'}{os.pathsep}{os.environ['PATH']}",
        },
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=600,
        check=False,
    )
    printed = re.split(r"<<\d+>>\n", _with_ports(done.stdout, {free: port for port, free in ports.items()}))[1:]
    assert len(printed) == len(found), done.stdout
    assert done.returncode == 0, done.stdout
    return ["".join(line for line in out.splitlines(keepends=True) if not line.startswith("{")) for out in printed]


def _with_ports(text: str, ports: dict[str, str]) -> str:
    for port, other in ports.items():
        text = re.sub(rf"(?<=127\.0\.0\.1:){port}\b|(?<=--port ){port}\b", other, text)
    return text


def free_ports() -> Iterator[str]:
    """Yield free ports below those that the system gives to whoever asks for any, so that they are free later too."""
    for port in range(20_000 + os.getpid() % 10_000, 32_000):
        with contextlib.suppress(OSError):
            socket.create_server(("127.0.0.1", port)).close()
            yield str(port)


def with_output(text: str, printed: list[str]) -> str:
    """Return the page with what its commands printed; output that is the same but for ids and times stays as it is."""
    waiting = iter(printed)

    def renewed(block: re.Match[str]) -> str:
        parts = _commands_of(block[1], block[2])
        outputs = [next(waiting) for _ in parts]
        if block[1] == "yaml":
            return block[0]
        body = "".join(
            f"$ {part.text}\n{part.output if masked(out) == masked(part.output) else out.strip(chr(10)) + chr(10)}"
            if out.strip()
            else f"$ {part.text}\n"
            for part, out in zip(parts, outputs, strict=True)
        )
        return f"```console\n{body}```"

    return _BLOCK.sub(renewed, text)


def main() -> None:
    """Write the output of every page, or of those that are named."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--write", action="store_true", required=True)
    parser.add_argument("pages", nargs="*", metavar="PAGE", help="names of pages; all by default")
    args = parser.parse_args()
    for name in args.pages or PAGES:
        text = page(name)
        with tempfile.TemporaryDirectory() as folder:
            renewed = with_output(text, run_page(text, Path(folder)))
        (DOCS / f"{name}.md").write_text(renewed, encoding="utf-8")
        print(f"docs/{name}.md: {'out of date, written' if renewed != text else 'up to date'}")


if __name__ == "__main__":
    main()
