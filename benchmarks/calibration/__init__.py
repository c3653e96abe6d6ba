"""Do the statistical statements of the program hold? Simulated studies whose truth is known, read by its own functions."""
