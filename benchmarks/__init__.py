"""Measurements: ratios in one run, on the machine at hand. `make benchmark` prints them."""
