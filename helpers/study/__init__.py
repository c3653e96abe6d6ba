"""Running a study: its specification, trials, checkpoints, workers, interruptions."""
