"""The only package that talks to AWS: sessions, paced and retried calls, live state, secret stores, locks.

Imports ``model`` and boto3; it reads and sends, and never decides what should be there.
Secrets are dropped in ``client``, before any other module sees an answer.
Read first: ``connection`` (one account and region), then ``reader`` (answers to ``LiveState``).
"""
