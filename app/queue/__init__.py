"""The queue: what waits, who is next, and the consumer that asks for it."""
