"""Clients of GitHub and GitLab: they post text, and know nothing of plans.

Imports ``errors``, ``network`` and ``terminal``, and each forge's client library where it is used.
Read first: ``client`` (what a forge can do), then ``github``.
"""
