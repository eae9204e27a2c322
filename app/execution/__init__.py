"""Execution: what a worker does with one task message, from its first record in the task's log to its settlement."""
