"""Numerics that methods share: jitted loops and plain numpy, arrays in and arrays out.

It imports nothing of xstf but itself, and knows no labels, dask, torch, files or methods.
"""
