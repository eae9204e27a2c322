"""Redis: task states, the cache of transcripts and turns, and finished chunks of running diarizations."""
