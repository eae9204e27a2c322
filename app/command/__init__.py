"""The commands `natscribe up` and `natscribe demo`, which run the service itself."""
