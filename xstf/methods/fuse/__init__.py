"""Spatiotemporal fusion: sharp images on few dates and blurred ones on many."""
