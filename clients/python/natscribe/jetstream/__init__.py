"""JetStream: streams, reads from them and headers of events, for the client, the mock and the service."""
