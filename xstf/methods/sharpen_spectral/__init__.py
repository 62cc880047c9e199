"""Spectral sharpening: many blurred bands and few sharp ones."""
