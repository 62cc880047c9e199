"""Training: one loop for every network, on the patches of labelled cubes."""

from __future__ import annotations

from xstf._recipe import Recipe
from xstf.train.fit import Fitted, fit

__all__ = ["Fitted", "Recipe", "fit"]
