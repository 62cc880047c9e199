"""Spatio-temporal-spectral fusion: many bands, many dates, small pixels from three cubes."""
