"""Reflectance of what covers farmland, in six bands."""

from __future__ import annotations

import numpy as np

BANDS = ("blue", "green", "red", "nir", "swir1", "swir2")

# reflectance in each of BANDS
LEAF = np.array([0.026, 0.062, 0.032, 0.48, 0.20, 0.085])
RIPE = np.array([0.075, 0.125, 0.180, 0.32, 0.35, 0.22])
STUBBLE = np.array([0.090, 0.130, 0.175, 0.26, 0.34, 0.26])
FLOWERS = np.array([-0.004, 0.085, 0.100, 0.02, 0.01, 0.00])
SOILS = np.array(
    [[0.085, 0.120, 0.160, 0.225, 0.315, 0.280], [0.050, 0.070, 0.090, 0.135, 0.195, 0.170]]
)
GRASS = np.array([0.035, 0.075, 0.050, 0.40, 0.22, 0.115])
HAY = np.array([0.060, 0.100, 0.110, 0.27, 0.29, 0.19])
TREES = np.array([0.020, 0.042, 0.024, 0.37, 0.155, 0.062])
TWIGS = np.array([0.045, 0.060, 0.070, 0.165, 0.190, 0.120])
NEEDLES = np.array([0.018, 0.033, 0.022, 0.22, 0.095, 0.040])
WATER = np.array([0.048, 0.052, 0.034, 0.016, 0.008, 0.006])
ASPHALT = np.array([0.090, 0.100, 0.110, 0.14, 0.165, 0.150])
ROOFS = np.array([0.118, 0.132, 0.150, 0.20, 0.225, 0.205])
CONCRETE = np.array([0.165, 0.190, 0.215, 0.26, 0.290, 0.265])
ASH = np.array([0.038, 0.042, 0.048, 0.085, 0.150, 0.140])
MUD = np.array([0.070, 0.100, 0.105, 0.065, 0.020, 0.012])  # water of a flood
