"""optuna-dashboard beside the studies of this program, read only."""
