"""Live transcription: transcribes audio while it is published.

Clients publish the audio of a live task as frames, i.e. NATS messages with 20 ms to 1 s of audio each. One JetStream
stream stores the frames, and another one the segments of the transcript. So another worker can take over the task: it
reads the last frames again, and continues after the last segment.
"""
