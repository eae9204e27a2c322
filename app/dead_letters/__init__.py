"""Dead letters: the messages of tasks that failed for good, kept for 30 days unless replayed or deleted."""
