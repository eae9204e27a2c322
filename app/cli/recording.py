"""The recording that comes with the service, for a first try."""

from pathlib import Path

TWO_READERS = Path(__file__).parent / "demo" / "two_readers.flac"
