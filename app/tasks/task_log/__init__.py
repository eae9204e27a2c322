"""The log of a task: its events, segments and outcome in JetStream, and its large results and speaker embeddings."""
