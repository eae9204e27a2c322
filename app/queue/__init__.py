"""The queue: what waits, who is next, and the slot that asks for it."""
