"""The command line: options, approval, progress, and the verbs.

A verb parses its options, calls ``workflow`` or ``controller``, and prints. What ``--help`` does not need is imported in a verb's ``run`` and the functions it calls.
Read first: ``main``, then ``plan``.
"""
