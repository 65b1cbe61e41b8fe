"""The network: wiring table, layers, response normalization, columns."""
