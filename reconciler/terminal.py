"""The terminal: text that is safe to show on it, and questions such as the one for an MFA code.

Names, tags and error messages may hold anything: cursor movements, direction overrides, line ends, or halves of characters.
A question is asked on the terminal itself, not on stdin or stderr, without echo, one at a time, with no progress drawn over it.
Without a terminal, or in the background of one, a question fails at once.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import select
import signal
import sys
import threading
import time
import unicodedata
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, TextIO

PATIENCE_SECONDS = 300.0
"""How long to wait for an answer: a build server may provide a terminal that no one watches."""

_WIDTH = 78
_DEFAULT_WIDTH = 80
_WORD = re.compile(r"( *)([^ ]+)")
_STYLE = re.compile(r"\x1b\[[0-9;]*m")
_SCREEN = threading.Lock()
_ASKING: list[Callable[[], None]] = []
"""Restores the terminal while a question is open."""

_ENTER, _ERASE, _ERASE_ALL, _INTERRUPT, _END = b"\r\n", b"\x7f\x08", b"\x15", b"\x03", b"\x04"


def is_colored(stream: TextIO) -> bool:
    """Return whether the environment asks for colours on a stream.

    ``NO_COLOR`` (no-color.org) comes first, then ``FORCE_COLOR`` and ``CLICOLOR_FORCE``, where 0 is no request; then it
    has to be a terminal with colours.
    """
    if os.environ.get("NO_COLOR"):
        return False
    if any(os.environ.get(name, "0") not in ("", "0", "false") for name in ("FORCE_COLOR", "CLICOLOR_FORCE")):
        return True
    return stream.isatty() and os.environ.get("TERM") != "dumb" and os.environ.get("CLICOLOR") != "0"


def width_of(stream: TextIO) -> int | None:
    """Return the width of a stream's terminal, ``None`` without one. ``COLUMNS`` comes first."""
    if not stream.isatty():
        return None
    columns = os.environ.get("COLUMNS", "")
    if columns.isascii() and columns.isdecimal() and int(columns[:9]) > 0:
        return int(columns[:9])
    with contextlib.suppress(ValueError, OSError):
        return os.get_terminal_size(stream.fileno()).columns or _DEFAULT_WIDTH
    return _DEFAULT_WIDTH


def fit_to_width(text: str, stream: TextIO) -> str:
    """Return text with its long lines wrapped at blanks to the width of a stream's terminal, the rest indented below the start.

    A word that is wider, such as an ARN, stays whole so that it can be copied. Without a terminal the text is unchanged.
    """
    width = width_of(stream)
    return text if width is None else "\n".join(wrap_line(line, width) for line in text.split("\n"))


def write_fitted(text: str, stream: TextIO) -> None:
    """Write text to a stream, wrapped as ``fit_to_width`` does."""
    stream.write(fit_to_width(text, stream))


def wrap_line(line: str, width: int) -> str:
    """Return a line as lines of at most ``width`` columns, if its words allow it."""
    if len(line) <= width and line.isascii():
        return line
    shown = _STYLE.sub("", line)
    hang = min(len(shown) - len(shown.lstrip(" ")) + 2, width // 2)
    lines, used = [""], 0
    for gap, word in _WORD.findall(line):
        size = cells(word)
        if used and used + len(gap) + size > width:
            lines.append(" " * hang + word)
            used = hang + size
        else:
            lines[-1] += gap + word
            used += len(gap) + size
    return "\n".join(lines) + line[len(line.rstrip(" ")) :]


def short_commit(commit: str) -> str:
    """Return the abbreviated id of a git commit, as all texts show it."""
    return commit[:10]


def shortened(text: str, limit: int) -> str:
    """Return the text in at most ``limit`` characters."""
    return text if len(text) <= limit else text[: limit - 1] + "…"


def same_start(one: str, other: str) -> int:
    """Return how many characters two texts begin with alike."""
    return next(
        (at for at, (left, right) in enumerate(zip(one, other, strict=False)) if left != right),
        min(len(one), len(other)),
    )


def cells(text: str) -> int:
    """Return how many columns of a terminal a text without line ends takes."""
    shown = _STYLE.sub("", text)
    if shown.isascii():
        return len(shown)

    return sum(0 if unicodedata.combining(char) else 1 + (unicodedata.east_asian_width(char) in "WF") for char in shown)


class NoAnswer(Exception):
    """There is no terminal, or no answer came; the message says which, as part of a sentence."""


@contextlib.contextmanager
def screen() -> Iterator[bool]:
    """Hold the screen while drawing; yields ``False`` if a question is open and nothing may be drawn."""
    free = _SCREEN.acquire(blocking=False)
    try:
        yield free
    finally:
        if free:
            _SCREEN.release()


def ask_for_digits(question: str, count: int) -> str:
    """Ask until ``count`` digits are typed and return them, without blanks between them. Thread-safe. Raises ``NoAnswer``.

    Ctrl-C interrupts the main thread as usual, and ends the question.
    """
    with _SCREEN, _terminal() as handle:
        os.write(handle, f"\r{'':{_WIDTH}}\r{question}".encode())
        until = time.monotonic() + PATIENCE_SECONDS
        while True:
            text = _line(handle, until)
            os.write(handle, b"\n")
            if len(text) == count:
                return text
            os.write(handle, f"{count} digits are needed; {question}".encode())


@contextlib.contextmanager
def _terminal() -> Iterator[int]:
    """Open the terminal without echo, and restore it at the end."""
    import termios  # noqa: PLC0415 - only a question needs it

    with contextlib.ExitStack() as stack:
        try:
            handle = os.open("/dev/tty", os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC)
            stack.callback(os.close, handle)
        except OSError:
            if sys.stdin is None or not sys.stdin.isatty():
                raise NoAnswer("there is no terminal") from None
            handle = sys.stdin.fileno()
        try:
            # Changing the terminal from the background would stop the whole process until it is brought to the foreground.
            if os.tcgetpgrp(handle) != os.getpgrp():
                raise NoAnswer("the process is in the background of its terminal")
            before = termios.tcgetattr(handle)
            ours = termios.tcgetattr(handle)
            # Keys come one by one and Ctrl-C as a key: the signal would reach the main thread and leave this one waiting for a line.
            ours[3] &= ~(termios.ECHO | termios.ICANON | termios.ISIG)
            termios.tcsetattr(handle, termios.TCSAFLUSH, ours)
        except (OSError, termios.error):
            raise NoAnswer("there is no terminal") from None
        restore = partial(termios.tcsetattr, handle, termios.TCSAFLUSH, before)
        # Cleared only after the restore, so that a process that ends meanwhile restores too.
        stack.callback(_ASKING.clear)
        _ASKING.append(restore)
        stack.callback(restore)
        yield handle


def leave() -> None:
    """Restore the terminal if a question is open, for a process that ends without waiting for the asking thread."""
    for restore in tuple(_ASKING):
        with contextlib.suppress(Exception):  # closed meanwhile: the question has ended by itself
            restore()
            sys.stderr.write("\n")


def _line(handle: int, until: float) -> str:
    """Return the digits typed before Enter."""
    typed = ""
    while True:
        ready, _, _ = select.select([handle], [], [], max(0.0, until - time.monotonic()))
        key = os.read(handle, 1) if ready else b""
        if not ready:
            os.write(handle, b"\n")
            raise NoAnswer("no answer came")
        if not key or key in _END:
            raise NoAnswer("the terminal was closed")
        if key in _INTERRUPT:
            signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)
            raise NoAnswer("the question was interrupted")
        if key in _ENTER:
            return typed
        if key in _ERASE:
            typed = typed[:-1]
        elif key in _ERASE_ALL:
            typed = ""
        elif key.isdigit():
            typed += key.decode()


_MIN_PART = 6
_REGION_OF_KEY = re.compile(r"^sk_[a-z]{2,}(?:-[a-z]+)+-[0-9]+_")

_HIDDEN = re.compile("[\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ud800-\udfff]")
"""Characters that JSON leaves unescaped and that a terminal or an editor interprets or cannot show."""


_BUILD_COMMAND = re.compile(r"##(?=\[|vso\[)")
"""Begins a command to the agents of GitHub Actions and Azure Pipelines, anywhere in a line."""


def sanitize(text: str) -> str:
    """Return text on one line, with everything that is not printable, or a command to a build agent, escaped."""
    if "##" in text:
        text = _BUILD_COMMAND.sub(r"\\u0023#", text)
    return text if text.isascii() and text.isprintable() else "".join(_harmless(char) for char in text)


def sanitize_lines(text: str) -> str:
    """Return text of several lines with everything unprintable escaped."""
    return "\n".join(sanitize(line) for line in text.split("\n"))


_COMMAND = re.compile(r"^(\s*)::", re.MULTILINE)


def without_commands(text: str) -> str:
    """Return sanitized text of several lines, none of which begins with a workflow command."""
    return _COMMAND.sub(r"\1\\u003a:", text)


def sanitize_json(text: str) -> str:
    """Return equivalent JSON with invisible and control characters, and commands to build agents, as JSON escapes."""
    if "##" in text:
        text = _BUILD_COMMAND.sub(r"\\u0023#", text)
    return text if text.isascii() and "\x7f" not in text else _HIDDEN.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


_STREAM_KEY = re.compile(r"\bsk_[a-z]{2,}(?:-[a-z]+)+-[0-9]+_[^\s\"'<>,;]*")


def mask_stream_keys(text: str) -> str:
    """Return text with the secret part of stream key values masked, whole or cut off."""
    return _STREAM_KEY.sub("***", text) if "sk_" in text else text


def mask_value(text: str, value: str) -> str:
    """Return text with every part of a secret value masked that is at least ``_MIN_PART`` characters long.

    The region at the start of a stream key is no secret and occurs in other texts, so it does not count.
    """
    secret = _REGION_OF_KEY.sub("", value)
    size = min(_MIN_PART, len(secret))
    if not size:
        return text
    masked = bytearray(len(text))
    for begin in range(len(secret) - size + 1):
        part = secret[begin : begin + size]
        at = text.find(part)
        while at >= 0:
            masked[at : at + size] = b"\1" * size
            at = text.find(part, at + 1)
    return "".join(
        char if not masked[place] else "" if place and masked[place - 1] else "***" for place, char in enumerate(text)
    )


_URL = re.compile(r"\b([A-Za-z][A-Za-z0-9+.-]*)://([^\s\"'<>]+)")
_SCP_PASSWORD = re.compile(r"^[^@/\s]*:[^@\s]*@(?=[^@/\s]+:)")


def mask_urls(text: str) -> str:
    """Return text whose URLs have neither user name, password, query nor fragment; a URL in which these cannot be distinguished keeps its scheme only."""
    if "://" not in text:
        return _SCP_PASSWORD.sub("", text)
    return _URL.sub(_masked_url, text)


def _masked_url(found: re.Match[str]) -> str:
    scheme, rest = found[1], found[2]
    end = rest[len(rest.rstrip(".,;:!?)]}")) :]
    rest = rest[: len(rest) - len(end)] if end else rest
    cut = min((at for at in (rest.find("?"), rest.find("#")) if at >= 0), default=len(rest))
    at = rest.rfind("@")
    # A password may hold any of / ? # @.
    shown = "***" if at > cut else rest[at + 1 : cut]
    return f"{scheme}://{shown}{end}"


def display_json(value: object, **options: Any) -> str:
    """Return a value as JSON that is safe to show; ``options`` are those of ``json.dumps``."""
    return sanitize_json(json.dumps(value, ensure_ascii=False, **options))


def _harmless(char: str) -> str:

    # Category C holds control, format (among them the direction overrides), surrogate and unassigned characters.
    # The two separators end a line in some readers.
    return f"\\u{ord(char):04x}" if unicodedata.category(char).startswith(("C", "Zl", "Zp")) else char


def without_surrogates(value: object) -> object:
    """Return a JSON value without lone surrogates, which JSON can contain and no file or terminal accepts."""
    if isinstance(value, str):
        return value if value.isascii() else value.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    if isinstance(value, dict):
        return {without_surrogates(key): without_surrogates(item) for key, item in value.items()}
    if isinstance(value, list):
        return [without_surrogates(item) for item in value]
    return value
