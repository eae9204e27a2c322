"""JetStream for the client, the mock and the service: configurations of streams, reads and headers of events."""
