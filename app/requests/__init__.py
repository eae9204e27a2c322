"""Handles the requests of clients: one module for each kind of request."""
