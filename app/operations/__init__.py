"""Work beside the tasks: health, metrics, missing streams, expired tasks."""
