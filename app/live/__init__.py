"""Live transcription: transcribes audio while it is published.

The frames of a task are stored in a stream, as its segments are. So a worker that takes over the task reads the last
frames again, and continues after the last segment.
"""
