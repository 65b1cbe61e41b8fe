"""Parquet files as a source: read in place, one image at a time."""
