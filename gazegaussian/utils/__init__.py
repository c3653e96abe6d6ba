"""Files and paths, as every part of the package handles them."""
