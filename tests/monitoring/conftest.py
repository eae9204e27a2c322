"""The servers of the production stack: those without accounts do not report what they store."""

from tests.access.conftest import guarded, valkey

__all__ = ["guarded", "valkey"]
