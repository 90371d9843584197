"""The nouns that every package shares: addresses, resources, targets, quotas, and the table of resource kinds.

Imports the standard library and ``errors`` only; pure values, no I/O.
Read first: ``address`` (what identifies a resource), ``kinds`` (one row a kind), then ``resource`` (desired and live).
"""
