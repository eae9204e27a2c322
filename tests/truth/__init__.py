"""Recordings whose words and speakers are known, and how many errors a finding has: for tests and measurements."""
