"""Execution: how a worker processes one delivery of a task, from its heartbeat to its settlement."""
