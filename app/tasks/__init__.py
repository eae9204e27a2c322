"""Tasks: which one is next, one delivery of it, its log, its copy in Redis, and what is left when it has ended."""
