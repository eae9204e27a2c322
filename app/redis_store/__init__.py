"""What is kept in Redis: the projection of tasks into keys, and the cache of what engines have found."""
