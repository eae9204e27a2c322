"""Work sharing: idle workers, i.e. workers without tasks of their own, help another worker with a long recording.

They transcribe windows, i.e. up to 20 s of speech each, and send the text to the worker that runs the task; only that
worker appends to the task's log. Nothing is stored by idle workers: if one of them is lost, the worker that runs the
task transcribes the lost windows itself.
"""
