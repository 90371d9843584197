"""Git in: which commit a spec comes from."""
