"""Measurements, as ratios from one run: they say how things grow, not how fast a machine is."""
