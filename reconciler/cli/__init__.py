"""The command line: options, approval, progress, and the verbs.

A verb parses its options, calls ``workflow`` or ``controller``, and prints. Heavy packages are imported in a verb's ``run``, so that ``--help`` stays fast.
Read first: ``main``, then ``plan``.
"""
