"""The background work of a worker: health checks, metrics, restarts of the projection to Redis, expiry of tasks."""
