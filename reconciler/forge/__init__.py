"""Clients of GitHub and GitLab: they post text, and know nothing of plans.

Imports ``errors`` only, and each forge's client library where it is used.
Read first: ``client`` (what a forge can do), then ``github``.
"""
