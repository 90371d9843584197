"""What every verb and the controller share: load, survey, run, record, lock, notify.

Knows no command line and no terminal. Imports everything below it: ``spec``, ``aws``, ``plan``, ``drift``, ``apply``, ``report``, ``forge``.
Read first: ``survey`` (read all targets and plan), then ``run`` (apply a plan).
"""
