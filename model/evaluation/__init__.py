"""Scores, ensembles, figures and export of trained networks."""
