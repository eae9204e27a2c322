"""A mock of the service, for tests of clients: it needs NATS, and neither workers nor models."""

from natscribe.mock.mock import Mock

__all__ = ["Mock"]
