"""Where the service stores: JetStream, recordings, Redis."""
