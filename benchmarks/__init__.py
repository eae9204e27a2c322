"""Measurements, as ratios in one run on the machine at hand: `make bench` prints them and writes them down."""
