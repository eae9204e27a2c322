"""Measurements, as ratios within one run on this machine: `make bench` prints and records them."""
