"""Tests of the measurements: what they compute and write of what was measured."""
