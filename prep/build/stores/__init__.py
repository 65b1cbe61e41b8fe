"""Runs whose output is an object store: plan, listing, parts and shards lie there, and any machine can work on them."""
