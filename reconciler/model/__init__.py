"""The nouns, and the one table of kinds. Imports the standard library only."""
