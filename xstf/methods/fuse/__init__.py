"""Spatiotemporal fusion: fine images on few dates and coarse ones on many."""
