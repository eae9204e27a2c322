"""Speaker diarization: segment windows, embed speech, cluster the embeddings to speakers, build turns."""
