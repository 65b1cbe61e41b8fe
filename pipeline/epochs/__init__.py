"""What makes up an epoch: its order, batches, samples and random numbers, all pure functions of (seed, epoch)."""
