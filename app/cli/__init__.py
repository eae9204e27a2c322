"""The commands of `natscribe` that run the service itself."""
