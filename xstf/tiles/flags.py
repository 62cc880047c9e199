"""What the values of a result's flag mean, the same for every verb."""

from __future__ import annotations

# Layers of a result with its quality: the estimate, its standard deviation, its flag, and how many
# observations it rests on.
LAYERS = 4
OBSERVED, FILLED_IN_TIME, FILLED_IN_SPACE = 0, 1, 2
FUSED_ONE_PAIR, FUSED_TWO_PAIRS, EXTRAPOLATED, MISSING = 3, 4, 5, 6
OUTLIER, FUSED_SERIES = 7, 8
FLAG_MEANINGS = (
    "observed filled_in_time filled_in_space fused_one_pair fused_two_pairs extrapolated missing "
    "outlier fused_series"
)
