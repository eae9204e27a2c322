"""What the service stores in Redis: copies of task states and results, cached results of engines, diarized chunks."""
