"""What a worker does beside its task: health checks, metrics, missing streams, expired tasks."""
