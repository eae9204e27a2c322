"""A whole worker in the test's own process, as the integration tests have it."""

from tests.integration.conftest import publisher, start_worker, wire

__all__ = ["publisher", "start_worker", "wire"]
