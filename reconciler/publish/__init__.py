"""Takes text and puts it where people read it: comments on forges, notifications. Knows nothing of plans."""
