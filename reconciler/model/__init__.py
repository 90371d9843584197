"""The values that every package uses: addresses, resources, targets, quotas, and the table of resource kinds.

Imports only the standard library and ``errors``; no I/O.
Read first: ``address`` (what identifies a resource), ``kinds`` (one row a kind), then ``resource`` (desired and live).
"""
