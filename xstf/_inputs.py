"""A former home of `crs_of`, for scripts that were written against it."""

from xstf.cubes.crs import crs_of

__all__ = ["crs_of"]
