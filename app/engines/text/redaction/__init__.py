"""Redaction: find personal data in a text by rules, and replace it."""
