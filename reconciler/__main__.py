"""``python -m reconciler`` is the ``ivs-reconciler`` command."""

import sys

from reconciler.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
