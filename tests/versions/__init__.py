"""Two versions of the service side by side: the working tree, and a variant of it with more fields and values."""
