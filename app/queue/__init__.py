"""The task queues: which tasks wait, which task is next, and the consumer that pulls its message."""
