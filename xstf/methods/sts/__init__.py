"""Spatio-temporal-spectral fusion: many bands on few dates, some on many, few sharp ones on few."""
