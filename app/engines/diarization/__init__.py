"""Diarization: find voices in windows, embed their speech, cluster the embeddings to speakers, build turns."""
