"""Live audio: transcribe sound while it is published.

The frames of a task are a log, as its segments are: a worker that takes over the task reads the frames again and goes
on behind the last segment.
"""
