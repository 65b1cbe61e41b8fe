"""What an epoch is: its order, its batches, its samples, its random numbers; pure functions of (seed, epoch)."""
