"""Listings as columns: many images as a few arrays, while a source is listed, in memory and in mapped files."""
