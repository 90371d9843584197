"""Desired state and live state in, the plan of one target out. Pure: no I/O, no clock, no logs.

There are two levels: people review *actions* (create, update, replace, delete, adopt, forget), the executor runs *steps*, one AWS call each.
Steps depend on one another across actions: a channel is switched to the new recording configuration after its create and before the delete of the old one.
A plan contains both levels, so it shows exactly the calls that an apply makes.

Imports ``model`` and ``diff``.
Read first: ``plan`` (the values), ``decide.build_plan`` (the order of questions), then ``pairing``, ``steps`` and ``order``.
"""
