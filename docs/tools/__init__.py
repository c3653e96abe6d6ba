"""What makes the pages of `docs/` a site, and keeps their tables equal to the code. Nothing here is imported by the program."""
