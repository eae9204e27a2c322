"""Dead letters: the messages of tasks that failed permanently, stored for 30 days unless replayed or deleted."""
