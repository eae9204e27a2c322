"""What the service answers to requests of clients: a file for each thing that they ask about."""
