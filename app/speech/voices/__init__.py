"""Voices by name: which people a user has enrolled, and which speakers of a recording they are."""
