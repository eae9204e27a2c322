"""Retention: erase what is kept of a task when it has been kept long enough, or when somebody asks for it."""
