"""What else one could take: each peer's own program, as its documentation says, run in their own environment."""
