"""The task queues: which tasks wait, which task is next, and the consumer that takes the next task."""
