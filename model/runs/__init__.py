"""What lies in a run folder: recipe, configuration, checkpoints, log."""
