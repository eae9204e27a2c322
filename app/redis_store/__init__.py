"""Redis: the projection of task states, the cache of engines' results, and analysed chunks of running diarizations."""
