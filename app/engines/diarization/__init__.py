"""Speaker diarization: segment windows of 10 s, embed their speech, cluster the embeddings to speakers, build turns."""
