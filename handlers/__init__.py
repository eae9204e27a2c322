"""When something is done: one file per channel. FastStream calls them; they call the service."""
