"""The log of a task: reads and appends its records, and stores its results."""
