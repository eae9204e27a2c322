"""Write deploy/nats/accounts.conf from the registry of channels and the configurations of the streams: `make spec`."""
