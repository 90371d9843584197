"""The values that every package uses: addresses, resources, targets, and the table of resource kinds with their quotas.

Imports only the standard library and ``terminal``; no I/O.
Read first: ``address`` (what identifies a resource), ``kinds`` (one row a kind), then ``resource`` (desired and live).
"""
