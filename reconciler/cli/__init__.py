"""The command line: one short function a verb, each a pipeline of rooms. Heavy rooms are imported where a verb runs, so that ``--help`` stays quick."""
