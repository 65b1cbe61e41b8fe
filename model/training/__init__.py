"""Training: trainer, learner, optimizer, forecast, diagnosis."""
