"""Engines: child processes that turn recordings into text and speaker turns."""
