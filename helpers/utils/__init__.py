"""Small tools that know nothing of studies."""
