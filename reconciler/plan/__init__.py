"""Deciding what to do: values in, values out.

Two levels are kept apart on purpose. People review *actions* (create, update, replace, delete, adopt, forget), each with a reason and the differences behind it.
Machines run *steps*, one AWS call each, which depend on one another across actions: the channel that is repointed stands between the create and the delete of the recording configuration that is replaced.
Both are in the plan, so a dry run shows the very calls that an apply makes, and the executor is a loop that decides nothing.

Nothing in this package does I/O, knows the time, or logs.
"""
