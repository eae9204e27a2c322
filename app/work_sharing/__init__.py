"""Work sharing: idle workers help to transcribe one long recording.

Nothing here is durable: the worker that runs the task transcribes lost windows again, and only that worker appends to
the task's log.
"""
