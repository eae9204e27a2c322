"""Write the permissions of NATS and their tables in docs/access.md from the registry of channels: `make spec`."""
