"""Transcription of recordings: window by window, channel by channel, from the cache or with the engine."""
