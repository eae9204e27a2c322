"""Retention: erases the data of an ended task when its retention time is over, or when a client requests it."""
