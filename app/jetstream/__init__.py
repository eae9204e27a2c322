"""JetStream: streams and consumers, reading and appending messages, and the connection to NATS."""
