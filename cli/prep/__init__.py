"""The commands of alexprep, one per file."""
