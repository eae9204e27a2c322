"""The task queues: registration and positions of waiting tasks, and the consumer that pulls task messages."""
