"""Work sharing: idle workers help to transcribe one long recording.

Nothing here is durable: the task's log stays with its worker, which transcribes again whatever is lost.
"""
