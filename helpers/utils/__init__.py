"""Small things that every room of `helpers` uses."""
