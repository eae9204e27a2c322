"""JetStream: its streams and consumers, how to read and append, and the connection to NATS."""
