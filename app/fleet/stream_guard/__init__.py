"""Creates the streams and consumers of the service, and restores their settings when clients change them."""
