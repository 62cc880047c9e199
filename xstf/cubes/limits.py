"""Bounds on values that all of xstf keeps."""

# Kernels see no value that is larger: its square would leave float32. Such ones are missing.
LARGEST = 1e18
