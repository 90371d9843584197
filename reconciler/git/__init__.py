"""Git: the user's clone, a followed branch, comparing two revisions, and comments about them on a forge.

Git runs as a subprocess with a restricted environment; no hook or configuration of a remote repository is executed.
Imports ``workflow``, ``forge``, ``report`` and everything below them.
Read first: ``git`` (how a remote is accessed), then ``source`` (the followed branch) and ``compare``.
"""
