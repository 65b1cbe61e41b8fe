"""Batches to a trained and evaluated two-column AlexNet."""
