"""Git revisions in, desired states out: reading, comparing and commenting on them.

Git runs as a subprocess with a cleaned environment; no hook or configuration of the repository is executed.
Imports ``workflow`` and everything below it.
Read first: ``git`` (how git is called), then ``source`` and ``revision``.
"""
