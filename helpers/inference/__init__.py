"""Use of trained models: rendering, evaluation, and folders to hand on."""
