"""When something is done: one file per channel. Knows FastStream, and the world only by `ports`."""
