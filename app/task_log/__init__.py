"""The log of a task: its records, appending and reading them, and the results."""
