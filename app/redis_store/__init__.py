"""Redis: the projection of tasks to keys, the cache of engines' findings, and the chunks of running diarizations."""
