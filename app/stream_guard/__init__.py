"""The streams and consumers of the service: created, compared with their configuration, and restored."""
