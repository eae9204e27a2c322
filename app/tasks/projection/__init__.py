"""Copies of task states and results in Redis, from which lists of tasks are read."""
