"""The engine processes, children of a worker: their program, their jobs, and the worker's side of their pipes."""
