"""Speech: transcribe and diarize a recording, and build the task's result."""
