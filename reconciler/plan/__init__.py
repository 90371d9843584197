"""Desired state and live state in, the plan of one target out. Pure: no I/O, no clock, no logs.

Two levels are kept apart: people review *actions* (create, update, replace, delete, adopt, forget), machines run *steps*, one AWS call each.
Steps depend on one another across actions: a channel is pointed to the new recording configuration between the create of that and the delete of the old one.
Both levels are in the plan, so a dry run shows exactly the calls that an apply makes.

Imports ``model`` and ``diff``.
Read first: ``plan`` (the values), ``decide.build_plan`` (the order of questions), then ``pairing``, ``steps`` and ``order``.
"""
