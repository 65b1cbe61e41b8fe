"""Is a finished shard set what its manifest says, and what is damaged made again."""
