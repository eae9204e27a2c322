"""The task queues: registers waiting tasks, lets them start in order, and estimates when they start."""
