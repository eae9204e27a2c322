"""Execution: what a worker does with one delivery of a task, from its heartbeat to its settlement."""
