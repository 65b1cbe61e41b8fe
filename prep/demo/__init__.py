"""The drawn demo set."""
