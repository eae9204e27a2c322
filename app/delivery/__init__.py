"""A delivery: a task message in the hands of this worker, from its first word in the log to its settling."""
