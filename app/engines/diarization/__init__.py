"""Diarization: cut excerpts, find voices in them, embed slices of speech, cluster them to speakers, build turns."""
