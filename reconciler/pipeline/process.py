"""Whether a process that left its name in a file is still there: the one that wrote it, and not another that was given its number since.

A mark is the start of the machine, the space of process numbers (a container has its own) and the moment the process began, as Linux tells them.
Where it does not tell, and for files from before marks, the number alone has to do.
"""

from __future__ import annotations

import os
import socket
from enum import Enum
from pathlib import Path

_BEGAN = 19
"""Where the moment a process began stands in ``/proc/PID/stat``, counted from its state, which is behind the name in brackets (proc(5))."""


class Fate(Enum):
    """What became of a process."""

    THERE = "it is there, or nothing says that it is not"
    GONE = "it was of this machine, and is not there any more"
    UNKNOWN = "it is of another machine, another container, or an earlier start of this machine"


def mark_of(pid: int) -> str:
    """Return the mark of a process of this machine, or nothing where there is none to be had."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        space = Path("/proc/self/ns/pid").readlink()
        return f"{boot} {space} {_status(pid)[_BEGAN]}"
    except (OSError, ValueError, IndexError):
        return ""


def fate_of(host: str, pid: int, mark: str) -> Fate:
    """Return what became of a process."""
    if host != socket.gethostname() or pid <= 0:
        return Fate.UNKNOWN
    ours = mark_of(os.getpid())
    if mark and ours and mark.rpartition(" ")[0] != ours.rpartition(" ")[0]:
        return Fate.UNKNOWN
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return Fate.GONE
    except (OSError, OverflowError):
        pass  # it is somebody else's
    now = mark_of(pid)
    if (mark and now and mark != now) or _is_over(pid):
        return Fate.GONE
    return Fate.THERE


def _is_over(pid: int) -> bool:
    """Whether a process has ended, and only its parent has not looked yet."""
    try:
        return _status(pid)[0] in ("Z", "X")
    except (OSError, ValueError, IndexError):
        return False


def _status(pid: int) -> list[str]:
    # A name may hold blanks and brackets.
    return Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
