"""FastStream's edge: one file per channel. FastStream calls the handlers; they call the service."""
