"""Bytes to upright RGB, to a fitted square, to encoded bytes."""
