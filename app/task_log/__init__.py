"""A task's log: what is appended to it, and how to read it."""
