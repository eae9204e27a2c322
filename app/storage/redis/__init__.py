"""Redis: keys, errors, and the caches of engines' results."""
