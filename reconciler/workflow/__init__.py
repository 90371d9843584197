"""What the commands and the controller share: load the spec, read and plan targets, apply plans, record, lock, notify.

Knows no command line and no terminal. Imports everything below it: ``spec``, ``aws``, ``plan``, ``drift``, ``apply``, ``export``, ``report``.
Read first: ``survey`` (reads all targets and plans them), then ``run`` (applies the plans).
"""
