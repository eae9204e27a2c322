"""Redaction: the rules, and the replacement of what they find."""
