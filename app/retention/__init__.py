"""Retention: erases the data of a task when its time is over, or on request."""
