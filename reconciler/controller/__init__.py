"""The controller: follows a branch, reconciles each target on its schedule, serves health, metrics and status pages.

Imports ``git``, ``workflow`` and what is below them.
Read first: ``controller`` (when a target is reconciled), ``reconcile`` (one reconciliation), then ``app`` (HTTP).
"""
