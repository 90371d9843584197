"""The ``ivs-reconciler`` command, which is also ``python -m reconciler``.

Signals are handled before the command line is imported, which takes a tenth of a second: Ctrl-C would end it with a traceback, or be lost.
"""

# Built in. The module signal is made of it and creates enumerations first, which takes a millisecond that Ctrl-C can hit.
import _signal as signal  # type: ignore[import-not-found]
import gc
import os


def entry() -> None:
    """Run the command line and end the process."""
    for number in (signal.SIGINT, signal.SIGTERM):
        if signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, _end)
    gc.disable()  # until the verb runs: what is imported stays
    from reconciler.cli.main import entry as run  # noqa: PLC0415 - see above

    run()


def _end(number: int, _frame: object) -> None:
    """End the process, which has begun nothing yet that has to be undone."""
    try:
        os.write(2, b"Interrupted.\n")
    finally:
        os._exit(128 + number)


if __name__ == "__main__":
    entry()
