"""Creates the streams and consumers of the service, and restores what clients change."""
