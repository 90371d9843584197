"""AWS -> live state, through one door to boto3.

``connect`` opens the door for a target, ``gateway`` sends the calls, ``limiter`` keeps them to the published rates.
``reader`` turns answers into ``LiveState``.
This room reads and sends; it never decides what should be.
"""
