"""Live audio: transcribe sound while it is published.

The frames of a task are stored in a stream, as its segments are. So a worker that takes over the task reads the last
frames again, and goes on after the last segment.
"""
