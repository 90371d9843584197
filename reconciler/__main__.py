"""``python -m reconciler`` is the ``ivs-reconciler`` command."""

from reconciler.cli.main import entry

if __name__ == "__main__":
    entry()
