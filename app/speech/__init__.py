"""The work on a recording: its speech is transcribed and diarized, and becomes a result."""
