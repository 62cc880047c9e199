"""Labelled cubes in and out: dims, dates, bands, missing values, grids, CRSs, labels.

Reads DataArrays and Datasets into plain parts (`read`) and labels plain arrays again (`write`). It
imports nothing of xstf, and knows no method, tile, engine or network.
"""
