"""Handlers, one file for each channel: FastStream calls a handler, and the handler calls the service."""
