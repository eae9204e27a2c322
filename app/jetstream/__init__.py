"""JetStream: the streams and consumers, how to read and append, and who we are to the server."""
