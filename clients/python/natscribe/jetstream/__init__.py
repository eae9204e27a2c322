"""Reads from JetStream streams, for the client and for the service."""
