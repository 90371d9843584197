"""Views of plans, drift reports and results: text, Markdown, HTML, JSON schemas, JUnit, metrics.

Pure: values in, text out; no I/O, no clock, no terminal. Imports ``plan``, ``drift``, ``apply``'s events and ``model``.
Read first: ``words`` (how values are named and formatted), then ``text``.
"""
