"""The queue: which tasks wait, which of them is next, and the consumer that takes it."""
