"""What client, mock and service share of JetStream: stream configurations, reads from streams and headers of events."""
