"""The background work of a worker: health checks, metrics, copying the streams to Redis again, expiry of tasks."""
