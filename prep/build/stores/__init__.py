"""Runs into an object store: plan, listing, parts and shards are kept there, so any machine can work on the run."""
