"""Dead letters: the messages of finally failed tasks, stored for 30 days unless replayed or deleted."""
