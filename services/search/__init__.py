"""Finds words in the transcripts of the service: an index that follows `results.*` and `erased.*`."""
