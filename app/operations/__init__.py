"""The work of a worker beside its tasks: health checks, metrics, a restarted projection, expired tasks."""
