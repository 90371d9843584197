"""``make bench``: every measurement, or those named on the command line, such as ``python -m bench plan pace``."""

from __future__ import annotations

import importlib
import sys
import time

NAMES = ("startup", "writes", "plan", "creates", "pace", "fleet", "rate", "sandbox")


def main() -> None:
    for name in sys.argv[1:] or NAMES:
        began = time.monotonic()
        importlib.import_module(f"bench.{name}_bench").main()
        print(f"{name} took {time.monotonic() - began:.0f} s\n", flush=True)


if __name__ == "__main__":
    main()
