"""Training: the step, the only epoch loop, its hooks and the one way to make a checkpoint."""
