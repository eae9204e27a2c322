"""Retention: erase what is kept of a task when its time is over, or when somebody asks for it."""
