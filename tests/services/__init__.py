"""Tests of the services on top of the events."""
