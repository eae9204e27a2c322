"""Engines: what turns audio into text and turns, in a child process of its own."""
