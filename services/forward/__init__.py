"""Sends events of the service to URLs: results, the ends of tasks, and erasures."""
