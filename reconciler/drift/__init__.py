"""What differs from the last apply, what is pending, missing, orphaned or unmanaged. Pure: values in, values out.

Imports ``plan``, ``diff`` and ``model``.
Read first: ``report`` (the values), then ``classify.find_drift``.
"""
