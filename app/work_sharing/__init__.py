"""Work sharing: idle workers help to transcribe one long recording.

Nothing here is durable: only the worker that runs the task appends to the task's log, and it transcribes lost windows
again.
"""
