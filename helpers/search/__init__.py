"""What is searched, and by which samplers and pruners."""
