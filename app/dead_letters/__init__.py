"""Dead letters: tasks that failed for good, kept until somebody replays or deletes them."""
