"""The log of a task: what an entry holds, how one is appended, and the result that it ends with."""
