"""The engine processes, which are children of a worker: their program, their jobs, and the worker's side of the pipes."""
