"""Voices by name: who is enrolled, and which speakers of a recording have an enrolled voice."""
