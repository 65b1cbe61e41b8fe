"""Listings as columns: many images in a few arrays, in memory or in memory-mapped files."""
