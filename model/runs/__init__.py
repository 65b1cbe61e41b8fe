"""The contents of a run folder: recipe, configuration, checkpoints, log."""
