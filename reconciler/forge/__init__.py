"""GitHub, GitLab and webhooks: puts text where people read it. Knows nothing of plans.

Imports ``errors`` only, and each forge's client library where it is used.
Read first: ``client`` (what a forge can do), then ``github``.
"""
