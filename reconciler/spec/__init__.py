"""Turns YAML into desired state.

``files`` finds the files, ``yaml`` parses them with line numbers, ``models`` and ``rules`` check them, ``desired`` builds the desired state.
Imports ``model``; never calls AWS. All problems of a repository are reported at once, each with file, line and column.
Read first: ``desired.load_desired``, then ``project.load_project``.
"""

import os

# A plugin of pydantic would see all that a spec holds, and looking for one reads the metadata of every installed package.
os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "__all__")
