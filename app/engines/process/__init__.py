"""The engine process: the program of the child, its jobs, and the worker's side of its pipes."""
