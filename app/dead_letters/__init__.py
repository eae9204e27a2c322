"""Dead letters: the messages of tasks that failed for good, kept until they are replayed, deleted or expire."""
