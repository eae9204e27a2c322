"""What a worker says of itself: metrics, logs and traces."""
