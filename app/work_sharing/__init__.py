"""Work sharing: idle workers help to transcribe one long recording.

Nothing here is stored: if an idle worker is lost, the worker that runs the task transcribes the lost windows itself.
Only that worker appends to the task's log.
"""
