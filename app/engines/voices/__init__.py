"""Diarization step by step: excerpts, voices in them, their prints, speakers, turns."""
