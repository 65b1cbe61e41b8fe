"""Tar files as sources: class tars and WebDataset shards, read in place by offset."""
