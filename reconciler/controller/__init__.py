"""The controller: follows a branch, reconciles each target on its schedule, serves health, metrics and status pages.

Imports ``git``, ``workflow`` and ``report``.
Read first: ``controller`` (when a target is reconciled), ``reconcile`` (one reconciliation), then ``app`` (HTTP).
"""
