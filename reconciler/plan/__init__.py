"""Deciding what to do: values in, values out.

Two levels are kept apart on purpose.
People review *actions* (create, update, replace, delete, adopt, forget), each with a reason and the differences behind it.
Machines run *steps*, one AWS call each, which depend on one another across actions:
the channel that is repointed stands between the create and the delete of the recording configuration that is replaced.
Both are in the plan, so a dry run shows the very calls that an apply makes, and the executor is a loop that decides nothing.

The way of one resource: ``ownership`` says whose it is, ``duplicates`` which one of several is meant, ``decide`` and ``remove`` what is due and why,
``steps`` which calls that takes, ``order`` what waits for what, ``build`` puts the plan together,
``guard`` and ``live_streams`` hold back what a person should see first.

Nothing in this package does I/O, knows the time, or logs.
"""
