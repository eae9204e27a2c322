"""The client of Natscribe: submits recordings over NATS, follows tasks, and fetches their results."""
