"""Asks a preloaded process for a command. As a program (``client.py SOCKET MODULE WORD...``) it is that command for a shell.

A shell starts it for every command, without ``site``: it imports next to nothing, and nothing of this repository.
"""

import array
import contextlib
import marshal
import os
import signal
import socket
import sys
from typing import Any, NoReturn


def ask(path: str, request: dict[str, Any], descriptors: list[int]) -> socket.socket:
    """Send a request (see ``server.Request``) and descriptors to the process that listens at ``path``; its answers come from what is returned.

    They are the process id, or 0 if the command needs an interpreter of its own, and then the exit status.
    The command is killed when this end is closed.
    """
    connection = socket.socket(socket.AF_UNIX)
    connection.connect(path)
    content = marshal.dumps(request)
    rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", descriptors))] if descriptors else []
    connection.sendmsg([len(content).to_bytes(4, "big")], rights)
    connection.sendall(content)
    return connection


def answer(connection: socket.socket) -> int:
    """Return the next answer. Raises ``ChildProcessError`` if the preloaded process is gone, and what the timeout of the connection raises."""
    found = connection.recv(4, socket.MSG_WAITALL)
    if len(found) < 4:
        raise ChildProcessError("the preloaded process ended")
    return int.from_bytes(found, "big", signed=True)


def _main(path: str, module: str, *words: str) -> NoReturn:
    descriptors = []
    for number in (0, 1, 2):
        with contextlib.suppress(OSError):
            os.fstat(number)
            descriptors.append(number)
    mask = os.umask(0)
    os.umask(mask)
    ignored = [int(number) for number in (signal.SIGINT,) if signal.getsignal(number) is signal.SIG_IGN]
    request = {
        "module": module,
        "words": list(words),
        "environment": dict(os.environ),
        "directory": os.getcwd(),  # noqa: PTH109 - pathlib would take as long as all the rest
        "numbers": descriptors,
        "umask": mask,
        "ignored": ignored,
    }
    # The command may be known to whoever sends one before its process id is here.
    forwarded = {signal.SIGINT, signal.SIGTERM, signal.SIGHUP}.difference(ignored)
    before = signal.pthread_sigmask(signal.SIG_BLOCK, forwarded)
    connection = ask(path, request, descriptors)
    pid = answer(connection)
    for number in forwarded if pid else ():
        signal.signal(number, lambda received, _: _forward(pid, received))
    signal.pthread_sigmask(signal.SIG_SETMASK, before)
    if not pid:
        os.execv(sys.executable, [sys.executable, "-m", module, *words])
    code = answer(connection)
    if code < 0:
        with contextlib.suppress(OSError):  # SIGKILL has no handler
            signal.signal(-code, signal.SIG_DFL)
        os.kill(os.getpid(), -code)
    os._exit(code)


def _forward(pid: int, number: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)


if __name__ == "__main__":
    _main(*sys.argv[1:])
