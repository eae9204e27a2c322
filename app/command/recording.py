"""The sample recording that is part of this package."""

from pathlib import Path

TWO_READERS = Path(__file__).parent / "demo" / "two_readers.flac"
