"""The commands of alextrain, one per file."""
