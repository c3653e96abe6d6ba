"""Data: the published HDF5 layout, splits, loaders and the synthetic heads."""
