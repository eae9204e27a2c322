"""What is kept in Redis: the projection for those who read keys, and what was found before."""
