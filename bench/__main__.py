"""``make bench``: every measurement, or those named on the command line."""

from __future__ import annotations

import importlib
import sys

NAMES = ("startup", "writes", "plan", "fleet", "rate", "sandbox")


def main() -> None:
    for name in sys.argv[1:] or NAMES:
        importlib.import_module(f"bench.{name}_bench").main()


if __name__ == "__main__":
    main()
