"""What computes the pixels of a batch: the DALI graph, the compiled CPU step, and the reference both are held to."""
