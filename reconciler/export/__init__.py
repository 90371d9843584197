"""Live resources -> spec files and an adopt file, as a person would have written them.

``entries`` names the resources and writes their fields, ``exporter`` makes the files. Values in, values out: no I/O.
Imports ``spec``, whose models and rules decide what can be written, and ``model``. Read ``entries`` first.
"""
