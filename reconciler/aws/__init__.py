"""The only package that talks to AWS: sessions, paced and retried calls, live state, stores that values are published to, locks.

Imports ``model`` and boto3; decides nothing.
``client`` removes secrets from answers.
Read first: ``connection`` (one account and region), then ``reader`` (answers to ``LiveState``).
"""
