"""Engines: they turn audio into text and turns, in child processes of their own."""
