"""Diarization: cut excerpts, find voices in them, embed the voices, cluster the embeddings to speakers, build turns."""
