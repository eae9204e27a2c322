"""What keeps the fleet of workers healthy: streams and consumers as needed, health checks, metrics, expiry of tasks."""
