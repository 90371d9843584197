"""What differs from the last apply, what is pending, missing, orphaned or unmanaged. Pure: values in, values out.

Imports ``plan``, ``diff`` and ``model``.
Read first: ``report`` (the values), then ``classify.classify``.
``DriftStatus`` is here, as every view needs it, and the views of a plan do not need the rest.
"""

from enum import StrEnum


class DriftStatus(StrEnum):
    """How a resource differs from the spec or the last apply."""

    DRIFT = "drift"
    PENDING = "pending"
    MISSING = "missing"
    UNTAGGED = "untagged"
    """It exists, and its owner tags are gone."""
    ORPHAN = "orphan"
    DUPLICATE = "duplicate"
    KEPT = "kept"
    """It was replaced, and resources of other owners still use it."""
