"""The operations behind the requests of clients, one module for each subject matter."""
