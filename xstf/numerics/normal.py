"""Numbers of the normal distribution that intervals and robust scales are made of, each once."""

from __future__ import annotations

# The central interval that standard deviations are calibrated for holds this share, and ends so
# many standard deviations from the mean: its 95 % point.
COVER, Z90 = 0.9, 1.6449
# Standard deviations in a median absolute deviation, and interquartile ranges in one.
MAD, IQR = 1.4826, 1.349
# Where Tukey's bisquare weight ends, in standard deviations: 95 % efficient on normal values.
BISQUARE = 4.685
