"""Measurements, as ratios in one run on the machine at hand: `make bench` embeddings them and writes them down."""
