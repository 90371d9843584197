"""The spec room: YAML in, a validated project and the desired state out.

``project.load_project`` reads the project file, ``desired.load_desired`` the spec files of one target, ``schema.schemas`` makes the JSON Schemas of both.
Everything the user wrote wrongly is reported at once, each with its place; nothing here asks AWS anything.
"""
