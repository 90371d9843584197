"""Measurements against the embedded server: ratios and counts, never a pass or fail on seconds. Run with ``make bench``."""
