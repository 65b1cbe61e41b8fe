"""The commands of alexeval, one per file."""
