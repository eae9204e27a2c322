"""Converts a result into JSON, as the service publishes it."""

from natscribe.formats import Options
from natscribe.schemas.kinds import Result


def write(result: Result, _: Options) -> str:
    """Return a result as JSON, with all of its fields."""
    return result.model_dump_json()
