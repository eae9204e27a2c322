"""JetStream and the connection to it: streams, logs, objects, Key-Value buckets, the lease, pull requests."""
