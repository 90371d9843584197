"""A fork of the preloaded process is what a new interpreter would be, ends as one, and sees nothing of other commands."""

from __future__ import annotations

import contextlib
import gc
import json
import os
import pty
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.cli.support import stack
from tests.cli.test_extras import PACKAGES
from tests.preloaded import Process, interruptible, write_program
from tests.preloaded.server import EXTRAS

PROBE = "tests.preloaded.probe"
WAIT = "import time; print('here', flush=True); time.sleep(100)"
forked = pytest.mark.skipif("PROCESSES" in os.environ, reason="with PROCESSES=1 nothing is forked")


def ended(process: subprocess.Popen[Any], given: str | None = None) -> tuple[int, str, str]:
    with process:
        out, err = process.communicate(given, timeout=60)
    return process.returncode, out, err


def started(words: Sequence[str] = (), **options: Any) -> Process:
    return Process(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **options)


def code(text: str, **options: Any) -> tuple[int, str, str]:
    return ended(started(["--version"], before=text, **options))


def until_gone(pid: int) -> None:
    end = time.monotonic() + 60
    while Path(f"/proc/{pid}/stat").exists() and time.monotonic() < end:
        time.sleep(0.01)
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


@forked
@pytest.mark.parametrize(
    ("words", "env", "options"),
    [
        ((), {}, {}),
        (("a b", "", "--", "\udcff*"), {"WORD": "ä \udcff\n", "HOME": "/nowhere", "TMPDIR": "/var/tmp"}, {}),
        (("one",), {"PYTHONPATH": "/a:/b"}, {"start_new_session": True}),
    ],
)
def test_a_process_is_what_a_new_interpreter_would_be(
    tmp_path: Path, words: tuple[str, ...], env: Mapping[str, str], options: dict[str, Any]
) -> None:
    options |= {"cwd": tmp_path, "env": {**os.environ, **env}, "text": True, "stdin": subprocess.DEVNULL}
    options |= {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    fork = ended(Process(words, PROBE, **options))
    options["preexec_fn"] = interruptible
    fresh = ended(subprocess.Popen([sys.executable, "-m", PROBE, *words], **options))
    assert fork[0] == fresh[0] == 0, (fork, fresh)
    assert json.loads(fork[1]) == json.loads(fresh[1])
    assert fork[2] == fresh[2] == ""


@pytest.mark.parametrize(
    ("before", "status"),
    [
        ("", 0),
        ("raise SystemExit(7)", 7),
        ("import os; os._exit(8)", 8),
        ("raise RuntimeError", 1),
        ("raise KeyboardInterrupt", -signal.SIGINT),
        ("import os; os.abort()", -signal.SIGABRT),
        ("import os; os.kill(os.getpid(), 9)", -signal.SIGKILL),
        ("import sys; sys.argv[1:] = ['nonsense']", 1),
    ],
)
@forked
def test_it_ends_as_its_interpreter_does(before: str, status: int) -> None:
    assert code(before)[0] == status


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL, signal.SIGINT, signal.SIGHUP])
def test_a_signal_ends_it_and_nothing_of_it_is_left(number: int) -> None:
    with started(before=WAIT) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "here\n"
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(0.01)
        assert process.poll() is None
        process.send_signal(number)
        assert process.wait(60) == process.poll() == -number
        until_gone(process.pid)
        process.kill()


def test_what_it_reads_and_writes_is_its_own(tmp_path: Path) -> None:
    before = "import sys, os; print(sys.stdin.read()); print('aside', file=sys.stderr); os.write(NUMBER, b'more')"
    log = tmp_path / "log"
    with log.open("wb") as handle:
        number = handle.fileno()
        process = started(["--version"], before=before.replace("NUMBER", str(number)), pass_fds=[number])
        status, out, err = ended(process, "given")
    assert (status, out.startswith("given\n"), err) == (0, True, "aside\n")
    assert log.read_text() == "more"


def test_output_and_errors_go_to_one_place_in_order(tmp_path: Path) -> None:
    before = "import os; os.write(1, b'one '); os.write(2, b'two '); os.write(1, b'three '); os._exit(0)"
    process = Process([], before=before, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    assert process.communicate(timeout=60)[0] == "one two three "


def test_at_a_terminal_it_writes_lines(tmp_path: Path) -> None:
    ours, theirs = pty.openpty()
    terminal = "import fcntl, termios; fcntl.ioctl(0, termios.TIOCSCTTY, 0)"
    process = Process(
        [], PROBE, before=terminal, stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True, cwd=tmp_path
    )
    os.close(theirs)
    text = b""
    with contextlib.suppress(OSError):  # Linux, once nobody holds the other side
        while read := os.read(ours, 65536):
            text += read
    assert process.wait(60) == 0
    os.close(ours)
    found = json.loads(text)
    assert all(lines or direct for _, _, lines, direct, *_ in found["streams"])
    assert found["leads"]


@forked
def test_a_process_shares_no_state_with_the_previous_one() -> None:
    change = (
        "import os, random, resource, signal, sys, tempfile, reconciler, reconciler.sandbox.wire as wire;"
        "print(os.environ.get('LEFT'), getattr(reconciler, 'left', None), os.umask(0o77), tempfile.tempdir, signal.getsignal(15),"
        " resource.getrlimit(resource.RLIMIT_NOFILE)[0] == 64, os.listdir('.'), flush=True);"
        "print(random.random(), wire._random.random(), file=sys.stderr, flush=True);"
        "os.environ['LEFT'] = 'x'; reconciler.left = 'x'; tempfile.gettempdir(); signal.signal(15, signal.SIG_IGN);"
        "resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64)); os.chdir('/tmp'); os._exit(0)"
    )
    seen = [code(change) for _ in range(3)]
    assert len({out for _, out, _ in seen}) == 1
    assert len({number for _, _, err in seen for number in err.split()}) == 6


@forked
def test_no_path_of_another_home_directory_is_used(tmp_path: Path) -> None:
    find = (
        "import gc, os, re, sys; gc.unfreeze()\n"
        "for one in gc.get_objects():\n"
        "    values = one.values() if type(one) is dict else one if type(one) in (list, tuple) else ()\n"
        "    found = [value for value in values if type(value) is str and re.match('/.*/preloaded-[^/]*/[.]', value)]\n"
        "    if found: print(type(one), found)\n"
        "os._exit(0)"
    )
    assert code(find, env={**os.environ, "HOME": str(tmp_path)}) == (0, "", "")


def test_a_new_one_is_a_new_interpreter() -> None:
    look = "import sys; print('tests.preloaded.server' in sys.orig_argv, flush=True)"
    assert code(look, fresh=True)[1].splitlines()[0] == "False"


@forked
@pytest.mark.parametrize(("name", "value"), [("PYTHONHASHSEED", "0"), ("LC_ALL", "C"), ("AWS_DATA_PATH", "/nowhere")])
def test_what_an_interpreter_reads_at_its_start_takes_a_new_one(name: str, value: str) -> None:
    look = f"import os, sys; print(os.environ.get({name!r}), 'tests.preloaded.server' in sys.orig_argv, flush=True)"
    assert code(look)[1].splitlines()[0] == "None True"
    assert code(look, env={**os.environ, name: value})[1].splitlines()[0] == f"{value} False"


@forked
def test_packages_of_extras_are_not_imported_before() -> None:
    assert set(PACKAGES) == EXTRAS
    look = "import sys; print(sorted({name.partition('.')[0] for name in sys.modules}), flush=True)"
    loaded = set(json.loads(code(look)[1].splitlines()[0].replace("'", '"')))
    assert {"botocore", "pydantic", "rich"} <= loaded
    assert not loaded & EXTRAS


def test_a_command_does_its_work(tmp_path: Path) -> None:
    folder = stack(tmp_path / "repo", {"channels": {"one": {}}})
    for words, status in ((["plan", "--detailed-exitcode"], 2), (["apply", "--auto-approve"], 0), (["drift"], 0)):
        assert ended(started(words, cwd=folder))[0] == status
    assert ended(started(["plan", "--detailed-exitcode"], cwd=folder))[0] == 0


@forked
@pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")
def test_it_ends_with_its_object() -> None:
    process = started(before=WAIT)
    assert process.stdout is not None
    assert process.stdout.readline() == "here\n"
    pid = process.pid
    del process
    gc.collect()
    until_gone(pid)


@forked
def test_all_ends_with_the_process_that_began_it() -> None:
    script = (
        "import sys, time; from tests.preloaded import Process, _path; print(_path(), flush=True);"
        "process = Process([], before='import os, time; print(os.getpid(), os.getppid(), flush=True); time.sleep(100)');"
        "time.sleep(100)"
    )
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        folder = Path(process.stdout.readline().strip()).parent
        assert folder.is_dir()
        pids = [int(word) for word in process.stdout.readline().split()]
        process.kill()
    for pid in pids:
        until_gone(pid)
    assert not folder.exists()


def shell(folder: Path, script: str, given: str = "", **env: str) -> tuple[int, str, str]:
    program = folder / "ivs-reconciler"
    write_program(program)
    done = subprocess.run(
        ["bash", "-c", script],
        cwd=folder,
        env={**os.environ, "PATH": f"{folder}{os.pathsep}{os.environ['PATH']}", **env},
        input=given,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    return done.returncode, done.stdout, done.stderr


def test_in_a_shell_it_reads_and_writes_and_has_its_exit_code(tmp_path: Path) -> None:
    stack(tmp_path, {"channels": {"one": {}}})
    script = "ivs-reconciler plan --out p.json > log; ivs-reconciler apply --auto-approve p.json | tail -1; ivs-reconciler nonsense"
    status, out, err = shell(tmp_path, script)
    assert status == 1
    assert out.startswith("Apply complete for dev: 1 done")
    assert err.startswith("ivs-reconciler: unknown command 'nonsense'")
    assert "1 to create" in (tmp_path / "log").read_text()
    assert shell(tmp_path, "ivs-reconciler plan >&-")[0] == 0
    assert shell(tmp_path, "umask 077; ivs-reconciler plan --out q.json")[0] == 0
    assert (tmp_path / "q.json").stat().st_mode & 0o777 == 0o600
    assert shell(tmp_path, "PYTHONHASHSEED=1 ivs-reconciler --version", PYTHONUTF8="1")[1].startswith("ivs-reconciler ")


@pytest.mark.parametrize(("number", "status"), [("TERM", 0), ("KILL", 137), ("HUP", 129)])
def test_in_a_shell_a_signal_reaches_it(tmp_path: Path, number: str, status: int) -> None:
    script = (
        "ivs-reconciler sandbox serve --port 0 > log & pid=$!; until grep -q ' on ' log; do sleep 0.05; done;"
        f"kill -{number} $pid; wait $pid; echo $?; url=$(grep -o 'http://[^ ]*' log | head -1); while curl -s $url -o page; do sleep 0.05; done"
    )
    done = shell(tmp_path, script)
    assert done[:2] == (0, f"{status}\n")
