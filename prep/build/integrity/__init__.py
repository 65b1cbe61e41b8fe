"""Check a finished shard set against its manifest, and rebuild damaged files."""
