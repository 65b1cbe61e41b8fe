"""Shards to batches: pure order, pure randomness, one DALI graph for CPU and GPU."""
