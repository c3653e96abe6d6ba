"""Small tools that every room of `helpers` uses and that know nothing of studies."""
