"""The task queues: pulls tasks in the order of their priorities, registers waiting tasks, estimates when they start."""
