"""Work sharing: idle workers help to transcribe one long recording.

Nothing here is stored: if a helper is lost, the worker that runs the task transcribes the helper's windows itself, and
only that worker appends to the task's log.
"""
