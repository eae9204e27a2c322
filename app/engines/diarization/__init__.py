"""Diarization step by step: excerpts, voices in them, their embeddings, speakers, turns."""
