"""Telemetry of a worker: metrics, logs and traces."""
