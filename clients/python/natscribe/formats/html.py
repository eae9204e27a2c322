"""Converts a result into a web page, which can play the recording."""

from natscribe.formats import Options, with_names
from natscribe.schemas.kinds import Result
from natscribe.transcript_page import page


def write(result: Result, options: Options) -> str:
    """Return a result as an HTML page."""
    return page(with_names(result), options.recording)
