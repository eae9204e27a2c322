"""Recall and false redactions of the rules and models that redact text, on text generated from templates."""
