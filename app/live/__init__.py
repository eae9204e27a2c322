"""Live transcription: transcribes audio while it is published.

Clients publish the audio of a live task as frames, messages of 20 ms to 1 s of audio. A stream stores them, as another
one stores the segments of the task. So a worker that takes over the task reads the last frames again, and continues
after the last segment.
"""
